"""What a model costs, collected from its graph, kept in a file."""
