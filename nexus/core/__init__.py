"""The cellar: money, errors, jobs, logs and HTTP. It has no tables and imports no app."""
