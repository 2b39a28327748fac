"""Alpaca: shares, whole and fractional, over REST through `alpaca-py`. An extra, off by default (docs/brokers.md)."""
