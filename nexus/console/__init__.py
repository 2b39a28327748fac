"""The operator console beyond its tables: what is going on, the acts that take a reason, the queues, the timeline."""
