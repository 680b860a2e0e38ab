"""The environment of commands under test."""

from __future__ import annotations

import os

import pytest


def unset_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset the settings in the environment, so that a command reads those of the test alone."""
    for name in [name for name in os.environ if name.startswith("BAROGRAPH_")]:
        monkeypatch.delenv(name)
