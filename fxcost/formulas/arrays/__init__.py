"""Formulas at many sizes at once, exact."""
