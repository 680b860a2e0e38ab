"""The table `evaluation_rates`: rates of faulty answers and the agreement of reviewers, for alert rules."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from barograph.contract import Contract
from barograph.contract.evaluator_contracts import evaluator_model

from barograph_server.sketches.judges.agreement import Agreement
from barograph_server.sketches.judges.fault_rate import RATE_REASON_NAMES
from barograph_server.streams.registry.registry import Registry
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.evaluation.evaluation_rates import ALL_PROMPTS, REVIEW_WINDOW, read_evaluation_rates
from barograph_server.warehouse.evaluation.reviews import RANDOM, read_reviews, review_agreement
from barograph_server.warehouse.tables import insert_records

WINDOW = timedelta(days=7)
"""Event times of the answers of a rate."""
LEAST_SPLIT = 10
"""Fewest answers about which reviewers differ, for an interval. At a true alpha of 0.667 the whole interval is below
0.667 in at most 3 % of simulated samples of two reviewers, 30 to 400 answers, and 5 to 50 % faulty ones. There is no
fewest number of answers about which they agree: reviewers who swap the classes hardly have any."""
_UNKNOWN = float("nan")


@dataclass(frozen=True, slots=True)
class StoredRate:
    """A row of `evaluation_rates`."""

    model: str
    evaluator: str
    evaluator_version: str
    prompt: str
    at: datetime
    newest_at: datetime
    judged: int
    flagged: int
    labels: int
    rate: float
    low: float
    high: float
    reason: str
    alpha: float = _UNKNOWN
    alpha_low: float = _UNKNOWN
    alpha_high: float = _UNKNOWN
    reviewed_twice: int = 0
    disagreements: int = 0


def compute_rates(client: Client, contract: Contract, at: datetime) -> list[StoredRate]:
    """Compute the rates of a model's evaluators at a time, by version and prompt, and for all prompts together.

    Args:
        at: the end of the answers' event time, exclusive.
    """
    models = {name: evaluator_model(contract.model, name) for name in contract.evaluators}
    rates = read_evaluation_rates(client, list(models.values()), at - WINDOW, at, "prompt and all")
    rate, agreements = rates.rate.rate, dict[str, Agreement]()
    rows = []
    for i, group in enumerate(rates.groups):
        row = StoredRate(
            model=contract.model,
            evaluator=group.evaluator,
            evaluator_version=group.evaluator_version,
            prompt=group.name,
            at=at,
            newest_at=group.newest_at,
            judged=group.judged,
            flagged=group.flagged,
            labels=group.labels,
            rate=float(rate.value[i]),
            low=float(rate.low[i]),
            high=float(rate.high[i]),
            reason=RATE_REASON_NAMES[int(rate.reason[i])],
        )
        if group.name == ALL_PROMPTS:
            if group.evaluator not in agreements:
                agreements[group.evaluator] = _agreement(client, models[group.evaluator], at)
            of_reviewers = agreements[group.evaluator]
            row = replace(
                row,
                alpha=of_reviewers.alpha,
                alpha_low=of_reviewers.low,
                alpha_high=of_reviewers.high,
                reviewed_twice=of_reviewers.items,
                disagreements=len(of_reviewers.disagreements),
            )
        rows.append(row)
    return rows


def _agreement(client: Client, model: str, at: datetime) -> Agreement:
    """Return the agreement about answers that were chosen at random; those chosen as difficult would lower it."""
    reviews = read_reviews(client, model, since=at - REVIEW_WINDOW)
    chosen = [each for each in reviews if each.reason == RANDOM and each.at < at]
    return review_agreement(chosen, (LEAST_SPLIT, 0)).agreement


MIN_INTERVAL_S = 3600.0
"""Shortest interval between the computations of a model. One reads the evaluations of seven days."""
MAX_TIME_SHARE = 0.02
"""Largest share of the time that a model's computations take; slower ones are made less often."""


class EvaluationRateSchedule:
    """Schedules the rates of each model with evaluators. Without new evaluations or labels, nothing is read."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next_s: dict[str, float] = {}
        self._unchanged: dict[str, frozenset[str]] = {}
        """Models whose rates are stored, with the models of their evaluators; none of these has new rows since."""

    def compute_due(self, client: Client, registry: Registry, now_ms: int, changed: Iterable[str]) -> None:
        """Compute the rates that are due and write them.

        Args:
            changed: models with new predictions or labels since the last call.
        """
        arrived = set(changed)
        self._unchanged = {model: own for model, own in self._unchanged.items() if not own & arrived}
        for model, contract in sorted(registry.contracts.items()):
            start_s = self._clock()
            own = frozenset(evaluator_model(contract.model, name) for name in contract.evaluators)
            if not own or self._unchanged.get(model) == own or start_s < self._next_s.get(model, start_s):
                continue
            at = datetime.fromtimestamp(now_ms // 1000, UTC)
            insert_records(client, "evaluation_rates", compute_rates(client, contract, at))
            self._unchanged[model] = own
            end_s = self._clock()
            self._next_s[model] = end_s + max(MIN_INTERVAL_S, (end_s - start_s) / MAX_TIME_SHARE)
