"""Error of rebuilds."""

from __future__ import annotations


class RebuildError(Exception):
    """The range cannot be rebuilt exactly, or not now. The message says why and what to do."""
