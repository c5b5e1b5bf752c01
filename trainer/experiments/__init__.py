"""Experiments: fitting a model, studying candidates, estimating the time, comparing two studies."""
