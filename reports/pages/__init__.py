"""Whole pages: a run's, and a comparison's."""
