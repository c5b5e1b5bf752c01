"""Configuration: settings, environment variables, URLs, and the entry points of servers."""
