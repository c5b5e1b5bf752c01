"""Synthetic micrographs: drawn tissue in the folder layout of BreakHis."""
