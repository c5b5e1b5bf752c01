"""The ledger: what a job is, who may work on it, what happens when a worker dies."""
