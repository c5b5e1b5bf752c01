"""The Django project: uploads, cases, the ledger of jobs, the registry of models."""
