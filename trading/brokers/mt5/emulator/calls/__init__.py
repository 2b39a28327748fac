"""Hold the functions of the package, by subject."""
