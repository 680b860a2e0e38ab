"""Why a rebuild is refused."""

from __future__ import annotations


class RebuildError(Exception):
    """The stretch cannot be rebuilt exactly, or not now; the text says why and what to do."""
