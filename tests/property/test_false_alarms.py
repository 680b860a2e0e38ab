"""Every kind of verdict alarms at most as often as it says where nothing has changed, for windows of 50 to 10⁶ events.

`python -m tests.reference.false_alarms` prints what is measured.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr

from tests.reference.false_alarms import KINDS, SIZES, Kind, at_most, normal, psi_on_new_bins, simulate


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_false_alarms_are_at_most_nominal(kind: Kind) -> None:
    for n in SIZES:
        outcome = simulate(kind, n)
        for alarms, nominal in ((outcome.doubt, kind.doubt), (outcome.level, kind.level)):
            if alarms is not None:
                assert alarms.mean() <= at_most(nominal, alarms.size), f"{n:,} events: more than {nominal:.2%}"


def test_without_the_error_of_their_sketches_new_bins_alarm_in_large_windows() -> None:
    rng = np.random.default_rng(1)
    for n, least in ((5_000, 0.08), (10**6, 0.9)):
        outcome = psi_on_new_bins(normal, ndtr, "kll", sketch_error=False)(rng, n)
        assert outcome.doubt is not None
        assert outcome.doubt.mean() > least
