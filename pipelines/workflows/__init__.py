"""What a command does, from its options to what it leaves behind."""
