"""Sizes that a run carries along: polynomials of the symbols, and what is asked of them."""
