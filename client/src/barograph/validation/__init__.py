"""Validation of features against the contract: one row or a whole table."""
