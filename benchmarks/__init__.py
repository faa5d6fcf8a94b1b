"""How fast, against whom, and how exact: one module per claim. `python -m benchmarks --help`, or `make bench`."""
