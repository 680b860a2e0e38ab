"""Errors of features of text."""

from __future__ import annotations


class TextError(ValueError):
    """A codebook, an embedding or a setting of text cannot be used; the message gives the reason and the remedy."""


def missing_package(name: str) -> TextError:
    """Return the error for a package of the extra `text` that is not installed."""
    return TextError(f"the package {name} is not installed; install barograph[text]")
