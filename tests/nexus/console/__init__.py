"""The console beyond its tables."""
