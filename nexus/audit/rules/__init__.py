"""The arithmetic of the black box: trees, headers, keys, and what a log must satisfy. No I/O."""
