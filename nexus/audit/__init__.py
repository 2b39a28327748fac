"""The black box: append, and later seal, export and verify."""
