"""Fitting: features, heads, fine-tuning, and the fitters that join them."""
