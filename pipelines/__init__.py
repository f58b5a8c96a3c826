"""Stage 2: embeddings and metadata become a table, splits, a fitted pipeline, evidence and a run folder."""
