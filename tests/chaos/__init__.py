"""A whole installation that trades while its processes are killed, frozen and cut off: `make chaos`."""
