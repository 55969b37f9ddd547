"""Costs compared with those of before."""
