"""The program beside the terminal: it alone imports the terminal's package, and it never sends one intent twice.

A process of its own that needs no Django: `python -m trading.brokers.mt5.gateway serve --config FILE`.
"""
