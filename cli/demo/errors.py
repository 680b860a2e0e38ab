"""What can go wrong in the demo."""

from __future__ import annotations

from cli.errors import CommandError


class DemoError(CommandError):
    """The demo cannot go on; the text says what to do about it."""
