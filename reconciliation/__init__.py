"""IS IT TRUE: our books against the broker's."""
