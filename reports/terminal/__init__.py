"""What commands print: lines for a person, or objects for a program."""
