"""Work on each element."""
