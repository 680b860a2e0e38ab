"""Skips tests on machines that lack a dependency."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

from local.child_process import PartMissingError


def skip_without(error: PartMissingError) -> NoReturn:
    """Skip the test, with the reason at the end of the run (-ra); in CI fail instead."""
    if os.environ.get("CI"):
        raise error
    pytest.skip(f"NOT TESTED, a part of the local stack is missing: {error}")
