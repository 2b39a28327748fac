"""Run the whole of Nexus on one machine that has nothing but Python: `python -m nexus.local run`."""
