"""Folders and files that only the user who runs the local stack can read: modes 0700 and 0600."""

import contextlib
import os
import stat
from functools import partial
from pathlib import Path
from typing import IO

UMASK = 0o077
"""Umask of child processes: what they create is private too."""

_FOLDER_MODE = 0o700
_FILE_MODE = 0o600


def make_private(folder: Path, *, contents: bool = False) -> None:
    """Create a folder with mode 0700, or remove the permissions of other users from an existing one.

    Args:
        folder: The folder; missing parents are created too.
        contents: Whether to remove them from everything inside as well, if others had any on the folder.

    Raises:
        OSError: The folder cannot be created, or belongs to another user.
    """
    folder.mkdir(_FOLDER_MODE, parents=True, exist_ok=True)
    was_open = _close_to_others(folder)
    if not (contents and was_open):
        return
    for parent, folders, files in os.walk(folder):
        for name in folders + files:
            # A server left by a crashed owner may delete files meanwhile.
            with contextlib.suppress(FileNotFoundError):
                _close_to_others(Path(parent, name))


def open_private(path: Path, mode: str) -> IO[str]:
    """Open a text file that is created with mode 0600; an existing one gets this mode."""
    opener = partial(os.open, mode=_FILE_MODE)
    file = open(path, mode, encoding="utf-8", opener=opener)  # noqa: SIM115 - the caller closes it
    os.fchmod(file.fileno(), _FILE_MODE)
    return file


def write_private(path: Path, text: str) -> None:
    """Replace a file at once by one with mode 0600."""
    scratch = path.with_name(f"{path.name}.new")
    with open_private(scratch, "w") as file:
        file.write(text)
    scratch.replace(path)


def _close_to_others(path: Path) -> bool:
    """Remove the permissions of group and others; return whether they had any."""
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode) or not mode & UMASK:
        return False
    path.chmod(stat.S_IMODE(mode) & ~UMASK)
    return True
