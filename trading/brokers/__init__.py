"""Hold one package per venue."""
