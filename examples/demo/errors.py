"""Errors of the demo."""

from __future__ import annotations

from barograph_server.errors import CommandError


class DemoError(CommandError):
    """The demo cannot continue; the text says what to do."""
