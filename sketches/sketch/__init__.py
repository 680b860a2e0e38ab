"""Mergeable summaries of one field: KLL for numbers, frequent items for categories, and the envelope they travel in."""
