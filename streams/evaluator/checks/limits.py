"""Limits that the checks of answers share."""

from __future__ import annotations

MAX_ANSWER_CHARS = 200_000
"""Characters of an answer that are read; results say how many were not."""
