"""A dataset: images, labels, groups and metadata, from a folder that has them in one of many ways."""
