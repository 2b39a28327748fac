"""WHO YOU ARE: users, sessions and tokens."""
