"""What a call holds in memory while it runs, as formulas, and what fits a machine."""
