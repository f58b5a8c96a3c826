"""The run folder: its schema, written whole, checked whole before it is believed, and the model file in it."""
