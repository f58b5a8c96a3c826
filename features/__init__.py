"""Stage 1: a dataset's images become embeddings, once, by frozen and learned extractors."""
