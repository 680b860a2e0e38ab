"""Validation of features against the contract: of one prediction or of a table."""
