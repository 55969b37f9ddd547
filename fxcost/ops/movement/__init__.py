"""What is moved and not computed."""
