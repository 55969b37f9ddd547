"""Where a model stands on a machine."""
