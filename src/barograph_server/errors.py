"""Exit codes and errors of commands. The text of an error says what failed, where, and what to do."""

EXIT_OK = 0
"""Done, or nothing to do."""
EXIT_FAILED = 1
"""The command failed; the message on standard error says what to do."""
EXIT_VIOLATIONS = 1
"""`check`, `compare` and `skew`: the data violates the contract, or a field differs."""
EXIT_UNREADABLE = 2
"""`check`, `compare` and `skew`: the data cannot be read or compared, or the command failed for another reason."""
EXIT_USAGE = 2
"""The command line is wrong: an unknown command or option, or an invalid value."""
EXIT_HOLD = 1
"""`promote`: the candidate is worse than the primary."""
EXIT_INSUFFICIENT = 2
"""`promote`: there is not enough evidence yet."""
EXIT_UNDECIDED = 3
"""`promote`: it failed, or its command line is wrong."""
EXIT_DIFFERS = 1
"""`shadow verify`: the bundle differs from the warehouse, or was changed."""
EXIT_UNVERIFIABLE = 2
"""`shadow verify`: the bundle cannot be computed again."""
EXIT_UNJUDGED = 3
"""`compare --fail-at`: the data is too little for a verdict, neither good nor bad."""
EXIT_CHANGES = 3
"""`plan` only: `apply` would change something."""
EXIT_INTERRUPTED = 130


class CommandError(Exception):
    """A command cannot continue; the text says what to do."""


class SettingsError(CommandError):
    """The settings are invalid or incomplete."""


class RefusedLoad(CommandError):
    """Processors would reject the events of a load, so nothing was sent."""


class ApplyError(CommandError):
    """The arguments of `apply` contradict each other or the installation."""
