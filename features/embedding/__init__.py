"""The loop of stage 1: every image decoded once, through every extractor that lacks it, onto disk."""
