"""What a verdict is made of: decoding, patches, networks, bundles and votes.

This package knows neither Django nor ``trainer``. Importing it, ``classifier.decode``, ``classifier.votes`` or the
grid of ``classifier.grid`` does not import PyTorch, so that a web server can check an upload cheaply.
"""
