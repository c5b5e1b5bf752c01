"""Jobs, the ledger that assigns them to workers, and the state of the workers."""
