"""The limits of the roles for reading, on the embedded engine: a query can tighten them and cannot lift them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from barograph_server.cli.query import LIMITS, MAX_TABLE_ROWS
from barograph_server.warehouse.roles import ROLES, Limit, Role
from tests.support.pipeline import ROOT

CONSTRAINT = 452
READONLY = 164
READERS = [role for role in ROLES if role.limits]


def codes(role: Role, statements: list[str], *, readonly: int = 2) -> list[int]:
    """Run each statement under the limits of a role; return the codes of their errors, 0 for none.

    With readonly = 2 only the constraints refuse a setting; with 1 ClickHouse also refuses those without a constraint.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.limited_engine", role.name, str(readonly)],
        cwd=ROOT,
        input=json.dumps(statements),
        capture_output=True,
        text=True,
        check=True,
    )
    result: list[int] = json.loads(done.stdout)
    assert len(result) == len(statements)
    return result


def lifting(limit: Limit) -> list[str]:
    if limit.most is None:
        other = 1 if isinstance(limit.value, int) else "'break'"
        return [f"SET {limit.setting} = {other}", f"SELECT 1 SETTINGS {limit.setting} = {other}"]
    values = [0, limit.most + 1]
    if limit.setting == "max_threads":
        values.remove(0)  # 0 is not unlimited, but the number of cores
    return [
        text.format(f"{limit.setting} = {value}")
        for text in ("SET {}", "SELECT 1 SETTINGS {}", "SET profile = 'default'; SET {}")
        for value in values
    ]


@pytest.mark.parametrize("role", READERS, ids=lambda role: role.name)
def test_no_statement_lifts_a_limit(role: Role) -> None:
    """A query may set any value within the bounds."""
    lifts = [statement for limit in role.limits for statement in lifting(limit)]
    allowed = [f"SET {limit.setting} = {value}" for limit in role.limits if limit.most for value in (1, limit.most)]
    if role.name == "barograph_analyst":
        settings = ", ".join(f"{name} = {value!r}" for name, value in {**LIMITS, "limit": MAX_TABLE_ROWS + 1}.items())
        allowed.append(f"SELECT 1 SETTINGS {settings}")  # those of the command `query`
    expected = {**dict.fromkeys(lifts, CONSTRAINT), **dict.fromkeys(allowed, 0), "SET readonly = 0": READONLY}
    assert dict(zip(expected, codes(role, list(expected)), strict=True)) == expected


def test_grafana_may_set_the_time_limit_that_its_plugin_sends() -> None:
    """Plugin 4.20.0 sends the remaining time of the request and 5 s: 62 to 65 s were seen."""
    (role,) = (role for role in READERS if role.name == "barograph_grafana")
    accepted = [f"SELECT 1 SETTINGS max_execution_time = {seconds}" for seconds in (1, 62, 64, 65)]
    assert codes(role, accepted) == [0] * len(accepted)
    assert "CHANGEABLE_IN_READONLY" in str(role.limits[0])
    refused = ["SET max_memory_usage = 1000", "SET readonly = 0", "SET max_block_size = 1"]
    refused += [f"SET profile = 'default'; {statement}" for statement in refused]
    assert codes(role, refused, readonly=1) == [READONLY] * len(refused)
