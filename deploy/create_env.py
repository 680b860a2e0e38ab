#!/usr/bin/env python3
"""Write the file .env with the passwords that docker-compose.yml needs: `python3 deploy/create_env.py`.

Each password is random. Only the current user can read the file, and git ignores it. Lines that are in the file already
stay, so a second run adds only what is missing. Needs Python and nothing else.
"""

import os
import re
import secrets
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_REQUIRED = re.compile(r"\$\{(\w+):\?")
_RECEIVERS = re.compile(r"\$\{(\w+):-[^}]*not-set\}")
_BYTES = 24


def main(folder: Path = ROOT) -> int:
    """Add the missing passwords to `.env` in a folder with a compose file; return 0."""
    compose = (folder / "docker-compose.yml").read_text(encoding="utf-8")
    path = folder / ".env"
    # Without O_TRUNC: a run that is interrupted must not lose the passwords that are stored in the volumes.
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(file, "r+", encoding="utf-8") as env:
        os.fchmod(env.fileno(), 0o600)
        present = env.read()
        names = set(re.findall(r"^\s*(?:export\s+)?(\w+)\s*=", present, re.MULTILINE))
        missing = [name for name in dict.fromkeys(_REQUIRED.findall(compose)) if name not in names]
        if present and not present.endswith("\n"):
            env.write("\n")
        env.writelines(f"{name}={secrets.token_urlsafe(_BYTES)}\n" for name in missing)
    sys.stdout.write(f"{path}: added {len(missing)} passwords, kept {len(names)} variables.\n")
    unset = ", ".join(name for name in _RECEIVERS.findall(compose) if name not in names)
    if unset:
        sys.stdout.write(f"Alerts for these receivers go nowhere until {path} has their addresses: {unset}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
