"""The crash matrix: real processes, killed at every boundary of the protocol. Run it with `make crash`."""
