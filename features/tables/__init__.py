"""Tables as people keep them: read as text, their columns found, their numbers and spellings made sense of."""
