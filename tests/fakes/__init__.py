"""The outside world, faked at its wire."""
