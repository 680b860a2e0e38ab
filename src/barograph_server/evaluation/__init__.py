"""Suites, reviews and judges of answers of language models."""
