"""Errors of `barograph compare`."""

from barograph_server.errors import CommandError


class CompareError(CommandError):
    """The two tables cannot be compared; the text says what is wrong, where, and what to do."""
