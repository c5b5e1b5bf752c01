"""Code that tests and benchmarks share. It imports nothing from `tests`."""
