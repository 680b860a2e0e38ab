"""Errors of commands: each text is a sentence that says what, where and what to do."""

from __future__ import annotations

EXIT_OK = 0
"""Done, or there was nothing to do."""
EXIT_FAILED = 1
"""Something could not be done; a sentence on standard error says what to do."""
EXIT_USAGE = 2
"""The command line is wrong: an unknown command or option, a value that does not fit."""
EXIT_CHANGES = 3
"""`plan` alone: `apply` would change something."""
EXIT_INTERRUPTED = 130
"""Ended by Ctrl-C before it was done."""


class CommandError(Exception):
    """A command cannot do what was asked; the text says what to do about it."""


class SettingsError(CommandError):
    """The settings do not say what they should."""


class ApplyError(CommandError):
    """What was asked to be applied does not fit together, or not what is there."""
