"""Fitting: features, heads, fine-tuning, and the fitters that combine them."""
