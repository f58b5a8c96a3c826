"""What is fitted: the table, the steps before a classifier, classifiers, calibration, and how they are joined."""
