"""One run of a model, recorded operator by operator, made a graph, and checked by plain runs."""
