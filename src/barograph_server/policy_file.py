"""The text of policy files: of promotions, and of the gate of evaluation suites."""

from pathlib import Path

from barograph_server.errors import CommandError


def read_policy_text(path: Path) -> bytes:
    """Read the file of a policy."""
    try:
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CommandError(f"{path}: cannot be read: {reason}; give the path of a policy.") from error
