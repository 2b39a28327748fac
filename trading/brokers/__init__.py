"""The brokers, in our words: pure I/O with no database, no retries and no clock."""
