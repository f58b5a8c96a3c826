"""Networks that turn an image into a vector: frozen ones by name, and those that were trained here."""
