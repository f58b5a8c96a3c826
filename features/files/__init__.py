"""Which files of a folder are photographs of lesions, and which row of a table each of them belongs to."""
