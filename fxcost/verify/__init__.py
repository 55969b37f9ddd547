"""Other counters, and what explains their gaps to ours."""
