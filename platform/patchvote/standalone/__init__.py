"""The embedded default: everything on one machine, started and stopped together."""
