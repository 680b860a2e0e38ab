"""Errors of drills. Their texts say what failed, where, and what to do."""


class DrillError(Exception):
    """A drill cannot run."""
