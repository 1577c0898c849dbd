"""One module a command: takes checked arguments, prints, returns the exit code."""
