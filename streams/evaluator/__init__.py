"""Evaluation of answers of language models."""
