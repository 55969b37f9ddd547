"""Expressions over positive whole numbers: text, exact values, bounds, where they hold; knows no torch."""
