"""Verdicts: which windows are due, what they are judged against, and the rows that result."""
