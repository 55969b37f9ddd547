"""What a model finds around it while it runs, answered as in a plain run."""
