"""Roles, sign-in and API tokens."""
