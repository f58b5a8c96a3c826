"""``python -m dermfuse`` is the command ``dermfuse``."""

from dermfuse.cli import entry

entry()
