"""The command line as a door."""
