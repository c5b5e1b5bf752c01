"""From bytes to tensors: decoding uploads, cutting patches and normalising pixels. `decode` needs no PyTorch."""
