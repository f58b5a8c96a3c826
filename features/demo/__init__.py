"""The demo's dataset: drawn lesions with metadata, and a few bad files."""
