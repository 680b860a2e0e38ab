"""Who makes a change that is stored."""

import getpass

from barograph_server.errors import CommandError


def author_name(by: str | None) -> str:
    """Return who makes a change: the name, or the user of the operating system."""
    if by is not None:
        if not by.strip():
            raise CommandError("--author is empty: write your name, or leave it out.")
        return " ".join(by.split())
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""
