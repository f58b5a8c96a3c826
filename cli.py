"""``python cli.py COMMAND``: the command line of a checkout, the same as ``dermfuse COMMAND`` where it is installed."""

from dermfuse.cli import entry, main

__all__ = ["main"]

if __name__ == "__main__":
    entry()
