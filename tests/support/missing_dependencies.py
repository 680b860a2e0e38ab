"""Skips tests on machines that lack a dependency."""

import os
from typing import NoReturn

import pytest

from barograph_server.local.child_process import PartMissingError


def skip_without(error: PartMissingError) -> NoReturn:
    skip_or_fail(f"a part of the local stack is missing: {error}")


def skip_or_fail(reason: str) -> NoReturn:
    """Skip the test, with the reason at the end of the run (-ra); in CI fail instead."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(f"NOT TESTED, {reason}")
