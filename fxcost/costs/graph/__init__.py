"""Storages, the tensors on them, and which operation moves what of which."""
