"""Reviews: decisions of reviewers about verdicts, and the agreement between reviewers and models."""
