"""Let recorded markets run through the whole system, and compare the books of both sides at the end."""
