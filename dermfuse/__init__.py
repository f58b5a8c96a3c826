"""dermfuse: embeddings and clinical metadata of skin lesions, classified, measured and explained.

The package's door. Its rooms lie beside this folder in a checkout, and inside it in an installation; their names are
the same in both, and no other name is taken from anybody.
"""

from pathlib import Path

if not (Path(__file__).parent / "features").is_dir():
    __path__.append(str(Path(__file__).parents[1]))
