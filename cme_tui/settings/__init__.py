"""What the settings screen shows and keeps: changes that are not saved, words, rows, questions about secrets."""
