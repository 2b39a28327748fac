"""News for open pages: what the database tells on commit, and each second what brokers show. docs/adr/0016."""
