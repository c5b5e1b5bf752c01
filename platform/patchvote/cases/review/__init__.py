"""Review: reviewers confirm or correct verdicts, and how often they agree with the model."""
