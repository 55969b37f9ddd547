"""What users write, made a module and what it is called with."""
