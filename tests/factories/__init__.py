"""Makers of what tests need, through the services that the doors use."""
