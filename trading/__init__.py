"""YOUR ORDERS: from the request to the last fill."""
