"""WHAT YOU MAY DO: limits, the locked day of a user, and the stop switch."""
