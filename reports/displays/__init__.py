"""Plots of a run as Display objects, in scikit-learn's manner: data in the constructor, axes given or made."""
