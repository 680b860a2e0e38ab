"""Readers, lineage, changes, debt and feedback loops of models."""
