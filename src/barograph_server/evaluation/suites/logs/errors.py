"""Errors of logs."""

from __future__ import annotations

from barograph_server.errors import CommandError


class EvalLogError(CommandError):
    """A log cannot be read; the text names the file and what to do."""
