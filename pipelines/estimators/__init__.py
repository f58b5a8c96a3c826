"""What scikit-learn is given: an image embedder and a classifier, clients of the code that the commands run."""
