"""Every kind of verdict alarms at most as often as it says where nothing has changed, for windows of 50 to 10⁶ events.

`python -m tests.reference.false_alarms` prints what is measured.
"""

from __future__ import annotations

import pytest

from tests.reference.false_alarms import KINDS, SIZES, Kind, at_most, simulate


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_false_alarms_are_at_most_nominal(kind: Kind) -> None:
    for n in SIZES:
        outcome = simulate(kind, n)
        for alarms, nominal in ((outcome.doubt, kind.doubt), (outcome.level, kind.level)):
            if alarms is not None:
                assert alarms.mean() <= at_most(nominal, alarms.size), f"{n:,} events: more than {nominal:.2%}"
