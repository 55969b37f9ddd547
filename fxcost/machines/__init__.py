"""Data sheets of machines, read and checked."""
