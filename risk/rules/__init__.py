"""Judgement: pure arithmetic over facts, with no I/O at all."""
