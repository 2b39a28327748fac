"""Random lives of orders against a reference that is too simple to be wrong."""
