"""Commands of the black box."""
