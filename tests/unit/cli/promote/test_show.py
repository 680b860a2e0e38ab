"""Every reason of a missing pair has a text, and the planned ones are no failures of the candidate."""

from __future__ import annotations

import numpy as np
from barograph.events import ShadowReason

from cli.promote.show import REASON_TEXTS
from warehouse.shadow.criteria import missing_answers
from warehouse.shadow.days import COUNTED, PLANNED, ShadowDays


def test_every_reason_has_a_text() -> None:
    of_client = {reason.removeprefix("shadow-") for reason in ShadowReason}
    assert set(REASON_TEXTS) == {*of_client, "primary-failed", "no-event", "error"}


def test_requests_outside_the_sample_and_failures_of_the_primary_are_no_failures_of_the_candidate() -> None:
    one = np.ones(1)
    days = ShadowDays(
        slice="all",
        days=("2026-05-01",),
        ended=one > 0,
        mature=one > 0,
        sums={name: 0 * one for name in COUNTED} | {"requests": 100 * one},
        missing={reason: 3 * one for reason in REASON_TEXTS},
    )
    failures, requests = missing_answers(days)
    assert requests == 100 - 3 * len(PLANNED)
    assert failures == -3 * (len(REASON_TEXTS) - len(PLANNED))
