"""The storm: many clients in several processes at the brink of each limit, and stops amid them. `make storm`."""
