"""Utilities that know nothing of images or models."""
