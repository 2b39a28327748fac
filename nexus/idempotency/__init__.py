"""One request, one effect: the same key never does the work twice."""
