"""From a run folder to one honest, self-contained HTML page."""
