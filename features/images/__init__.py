"""From an image file to a network's input: decoded safely, in processes of its own, and transformed."""
