"""Faults and figures of the bridges, with real processes: `python -m benchmarks.bridges`."""
