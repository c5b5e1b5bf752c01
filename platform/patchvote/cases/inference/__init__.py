"""Inference: the worker that analyses queued images in batches."""
