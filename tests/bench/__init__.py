"""`make bench`: how fast an order is beside the physical limit of the same database, in one run on one machine."""
