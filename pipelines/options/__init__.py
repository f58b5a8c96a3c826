"""What a person may choose: every option declared once, from which flags, files, checks and reports take it."""
