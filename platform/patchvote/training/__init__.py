"""Data sets, training runs, and comparisons of candidates with the champion."""
