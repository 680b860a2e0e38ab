"""Errors of drills. Their texts say what failed, where, and what to do."""

from __future__ import annotations


class DrillError(Exception):
    """A drill cannot run."""
