"""A made evaluation of a candidate, and histograms of its pairs."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
from barograph.contract import Contract, LabelSpec, ShadowTest

from barograph_server.rollouts.candidate import CandidateEvaluation, CandidateTest
from barograph_server.sketches.rollout.criteria import decision
from barograph_server.sketches.rollout.exceedances import bucket_histogram
from barograph_server.sketches.rollout.shadow_days import COUNTED, ShadowDays
from barograph_server.warehouse.queries import ContractRow
from barograph_server.warehouse.rollouts.pair_histograms import HourLatency, PairHistograms

SHADOW = ShadowTest(candidate="<4>", of="3", margins={"accuracy": 0.02, "latency": 0.1, "missing": 0.05})
CONTRACT = Contract(model="a & b", label=LabelSpec(type="bool", positive=True), shadow=SHADOW)


def made_days(name: str, n_days: int, better: float) -> ShadowDays:
    rng = np.random.default_rng(4)
    n = np.full(n_days, 400.0)
    sums = {column: np.zeros(n_days) for column in COUNTED}
    won, lost = (rng.poisson(20 * (1 + sign * better), n_days).astype(float) for sign in (1, -1))
    sums |= {"requests": n, "pairs": n - 9, "compared": n - 9, "agreed": n - 50, "labelled": n - 9, "timed": n - 9}
    sums |= {
        "candidate_right": won,
        "primary_right": lost,
        "both_right": n - 99,
        "log_latency": rng.normal(4, 1, n_days),
    }
    latencies = np.tile(bucket_histogram([0, 24], [300, 91]), (n_days, 1))
    return ShadowDays(
        name,
        tuple(str(date(2026, 5, 1) + timedelta(day)) for day in range(n_days)),
        np.ones(n_days, bool),
        np.ones(n_days, bool),
        sums,
        {"timeout": np.full(n_days, 8.0), "<reason>": np.ones(n_days)},
        {"latencies_primary": latencies, "latencies_candidate": latencies} if name == "all" else {},
    )


def made_evaluation(n_days: int, *, after_promotion: bool = False) -> CandidateEvaluation:
    slices = [made_days("all", n_days, 0.2), made_days("country=<b>DE</b>", n_days, -0.8)]
    row = ContractRow(CONTRACT.model, CONTRACT.id, "", datetime.now(UTC))
    test = CandidateTest(CONTRACT, row, SHADOW, "basis", "", after_promotion)
    return CandidateEvaluation(test, slices, 0, 0, decision(SHADOW, slices))


HISTOGRAMS = PairHistograms(
    [
        HourLatency(0, 300, (10.0, 20.0, 30.0, 40.0, 50.0), (11.0, 21.0, 31.0, 41.0, 51.0)),
        HourLatency(23, 1_200, (20.0, 40.0, 60.0, 80.0, 100.0), (30.0, 50.0, 90.0, 130.0, 170.0)),
    ],
    0.98765,
    {"TimeoutError": 3},
    {"<Error>": 12},
)
