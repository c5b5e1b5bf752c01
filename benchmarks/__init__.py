"""Measurements that take longer than a test may; `python -m benchmarks.training` measures the speed of training."""
