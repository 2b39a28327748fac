"""Hold what speaks to MetaTrader 5."""
