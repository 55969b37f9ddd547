"""What the commands print: costs, rooflines and platforms as tables."""
