"""The cost of Redbike, compared with its predecessor 0.13.1 on one server in one run: `python -m benchmarks`."""
