"""Case, Image, Analysis: submitting, verdicts, history."""
