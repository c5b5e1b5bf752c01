"""Installations whose processes, Redis and database fail on purpose, and the audit afterwards."""
