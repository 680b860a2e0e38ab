"""Errors of the checks of answers."""

from __future__ import annotations


class AnswerCheckError(ValueError):
    """The definition of a check, or a list of claims, cannot be used; the message says what is wrong and where."""
