"""What pretrained networks may be asked for, known without torch."""

VIEWS = (1, 2, 4, 8)
LEVELS = ("last", "multi")
