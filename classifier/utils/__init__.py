"""Utilities that know nothing of images or models: messages that can be translated, and defences against zip files."""
