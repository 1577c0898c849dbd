"""Lines, meters and searches in words and forms, for the screens that install them."""
