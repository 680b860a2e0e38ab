"""The command `barograph`, run in the process of the test."""

from __future__ import annotations

import pytest

from cli.main import main


def run(*words: object) -> int:
    """Run `barograph WORDS` and return its exit code."""
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)
