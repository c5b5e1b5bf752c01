"""Code that every app may use and that belongs to none."""
