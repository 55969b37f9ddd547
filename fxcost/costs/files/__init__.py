"""Costs as files, written and read."""
