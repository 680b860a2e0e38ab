"""Checks of answers by rules, without a model and without I/O: the same input gives the same result."""
