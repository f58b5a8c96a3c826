"""With what a network runs on this machine: candidates, the choice between them, and its memory."""
