"""Runs of evaluation suites: the tables `eval_runs`, `eval_items` and `eval_acceptances`. Rows are never changed."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec
import numpy as np

from barograph_server.sketches.performance.metric import MetricEstimate, clustered_rate
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.errors import WarehouseError
from barograph_server.warehouse.queries import rows_of
from barograph_server.warehouse.tables import insert_rows

PASS_SCORE = 0.5
"""Smallest score of a passed answer, if the log does not say whether it passed."""
BATCH_ROWS = 10_000
_STORED_AS_STATED = (
    *("model", "suite", "suite_version", "run_id", "version", "prompt", "format", "scorer", "unscored", "mean"),
    "content_hash",
)
"""Columns of `eval_runs` that are members of a run."""


@dataclass(frozen=True, slots=True)
class EvalItem:
    """The score of one answer."""

    item: str
    """Identifier of the item in its suite."""
    epoch: int
    """Repetition of the item, counted from 1."""
    score: float
    """From 0 to 1."""
    is_pass: bool
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class EvalRun:
    """One run of a suite, as its log states it."""

    model: str
    """Application; empty if the log names none."""
    suite: str
    suite_version: str
    run_id: str
    version: str
    """Served model."""
    prompt: str
    """`name@version`; empty if the log names none."""
    format: str
    """Program that wrote the log."""
    scorer: str
    started_at_ms: int
    """Unix ms."""
    answers: tuple[EvalItem, ...]
    unscored: int
    """Answers without a score."""

    @property
    def mean(self) -> float:
        return float(np.mean([answer.score for answer in self.answers]))

    @property
    def mean_of_items(self) -> float:
        """Mean of the items' mean scores; it differs from `mean` if items have different numbers of answers."""
        scores: dict[str, list[float]] = {}
        for answer in self.answers:
            scores.setdefault(answer.item, []).append(answer.score)
        return float(np.mean([np.mean(each) for each in scores.values()]))

    def estimate(self) -> MetricEstimate:
        """Return the mean score with its interval, clustered by item."""
        sums: dict[str, float] = {}
        counts: dict[str, int] = {}
        for answer in self.answers:
            sums[answer.item] = sums.get(answer.item, 0.0) + answer.score
            counts[answer.item] = counts.get(answer.item, 0) + 1
        return clustered_rate(list(sums.values()), list(counts.values()))

    @property
    def content_hash(self) -> str:
        """SHA-256 of the content, in hexadecimal; answers count in any order, and model and prompt do not count."""
        answers = tuple(sorted(self.answers, key=lambda answer: (answer.item, answer.epoch)))
        content = replace(self, model="", prompt="", answers=answers)
        return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A row of `eval_runs`."""

    model: str
    suite: str
    suite_version: str
    run_id: str
    version: str
    prompt: str
    format: str
    scorer: str
    started_at: datetime
    items: int
    samples: int
    unscored: int
    mean: float
    low: float
    high: float


def store_run(client: Client, run: EvalRun, at_ms: int) -> bool:
    """Store a run, its items first; a repeated call completes one that failed.

    Args:
        run: of a named model.
        at_ms: time of the import, Unix ms.

    Returns:
        Whether the run is new.
    """
    stored = client.rows(
        "SELECT model, prompt, content_hash, scorer FROM eval_runs FINAL WHERE run_id = {run:String}",
        {"run": run.run_id},
    )
    if stored:
        if stored[0][3] != run.scorer:
            raise WarehouseError(
                f"Run {run.run_id} of {run.suite} is stored already with the score {stored[0][3]}; a run is stored "
                f"with one score. To import {run.scorer}, run the suite again, and import the new log with --scorer."
            )
        if stored[0][:3] != (run.model, run.prompt, run.content_hash):
            raise WarehouseError(
                f"Run {run.run_id} of {run.suite} is stored already for the model {stored[0][0]} and the prompt "
                f"{stored[0][1] or '(none)'}, and this log differs in one of them or in its scores. "
                "A run does not change: run the suite again for a new one."
            )
        return False
    rows = [
        {
            "run_id": run.run_id,
            "item": answer.item,
            "epoch": answer.epoch,
            "score": answer.score,
            "class": "pass" if answer.is_pass else "fail",
            "metadata": dict(answer.metadata),
        }
        for answer in run.answers
    ]
    for first in range(0, len(rows), BATCH_ROWS):
        insert_rows(client, "eval_items", rows[first : first + BATCH_ROWS])
    estimate = run.estimate()
    row = {
        **{name: getattr(run, name) for name in _STORED_AS_STATED},
        "started_at": run.started_at_ms,
        "items": len({answer.item for answer in run.answers}),
        "samples": len(run.answers),
        "low": float(estimate.low),
        "high": float(estimate.high),
        "imported_at": at_ms,
    }
    insert_rows(client, "eval_runs", [row])
    return True


def read_runs(client: Client, model: str) -> list[StoredRun]:
    """Read the runs of a model, by suite and start."""
    tail = "FROM eval_runs FINAL WHERE model = {model:String} ORDER BY suite, started_at, run_id"
    return rows_of(client, StoredRun, tail, {"model": model})


def read_means(client: Client, run_id: str) -> dict[str, float]:
    """Read the mean score of each item of a run."""
    rows = client.rows(
        "SELECT item, avg(score) FROM eval_items FINAL WHERE run_id = {run:String} GROUP BY item ORDER BY item",
        {"run": run_id},
    )
    return dict(rows)


def is_served_version(version: str, served: str) -> str:
    """Return the condition that a run's version is a served one: programs may put the provider before its name.

    Args:
        version: the expression for the version of the run, such as `openai-api/local/smollm2`.
        served: the expression for the served version, such as `smollm2`.
    """
    ends = f"endsWith({version}, concat('/', {served})) OR endsWith({version}, concat(':', {served}))"
    return f"({version} = {served} OR {ends})"


def accepted_runs(client: Client, model: str, version: str | None = None) -> dict[str, str]:
    """Read the id of the last accepted run of each suite of a model, of one served version if it is given."""
    condition = is_served_version("version", "{version:String}")
    of_version = "" if version is None else f"AND run_id IN (SELECT run_id FROM eval_runs WHERE {condition}) "
    rows = client.rows(
        "SELECT suite, argMax(run_id, accepted_at) FROM eval_acceptances FINAL "
        f"WHERE model = {{model:String}} {of_version}GROUP BY suite",
        {"model": model, "version": version or ""},
    )
    return dict(rows)


def store_acceptances(client: Client, runs: Sequence[tuple[StoredRun, str]], by: str, at_ms: int) -> None:
    """Record that runs are accepted at a time (Unix ms), each with the reason."""
    rows = [
        {
            "model": run.model,
            "suite": run.suite,
            "run_id": run.run_id,
            "reason": reason,
            "accepted_by": by,
            "accepted_at": at_ms,
        }
        for run, reason in runs
    ]
    insert_rows(client, "eval_acceptances", rows)
