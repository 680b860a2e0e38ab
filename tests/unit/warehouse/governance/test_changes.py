"""Members of a reported change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from barograph_server.warehouse.governance.changes import FIRST_YEAR, ChangeError, reported_change

NOW = datetime(2026, 5, 4, 13, 20, tzinfo=UTC)
DEPLOY = {"kind": "deploy", "subject": "job"}


def test_a_change_has_the_time_that_was_reported_or_that_of_the_report() -> None:
    assert reported_change(DEPLOY, NOW).changed_at == NOW
    local = NOW.astimezone(timezone(timedelta(hours=2)))
    change = reported_change({**DEPLOY, "changed_at": local.isoformat()}, NOW)
    assert (change.changed_at, change.changed_at.tzinfo) == (NOW, UTC)


def test_members_that_are_no_text_or_no_time_are_rejected() -> None:
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"owner": 7}, "owner is not a text"),
        ({"kind": "Prompt\u00a0label "}, "kind Prompt.*label  is one that Barograph records itself"),
        ({"changed_at": 1_777_900_800}, "changed_at is not a time; write it as 2026-05-04T13:20:00Z"),
        ({"changed_at": "yesterday"}, "changed_at is not a time"),
        ({"changed_at": f"{FIRST_YEAR - 1}-12-31T00:00:00Z"}, f"changed_at is before {FIRST_YEAR}; correct it"),
    )
    for changes, message in wrong:
        with pytest.raises(ChangeError, match=message):
            reported_change(DEPLOY | changes, NOW)
