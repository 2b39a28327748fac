"""MetaTrader 5: the adapter, the gateway beside the terminal, and the emulator of a broker."""
