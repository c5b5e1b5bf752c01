"""The standalone installation: all processes on one machine, started and stopped together."""
