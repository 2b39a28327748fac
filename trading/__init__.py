"""Hold the orders, the positions and the brokers that carry them out."""
