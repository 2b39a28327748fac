"""Hold the strings of a broker, by subject."""
