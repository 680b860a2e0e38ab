"""Raw rows for tests of the scorer, and their performance in plain Python."""

import math
import random
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from barograph.contract import Contract, LabelSpec
from barograph.contract.file import dump_contract

from barograph_server.streams.registry.registry import Registry, build_registry
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.scorer.worker import Scorer
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.warehouse.client import Address, Client
from barograph_server.warehouse.tables import insert_rows
from tests.support.warehouse import row, snapshot

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
START_MS = (int(time.time()) // 86400 - 40) // 7 * 7 * DAY_MS
"""The first midnight of a window of a week, 40 to 46 days ago: raw rows are kept for 90 days."""

Score = Callable[..., Scorer]


def scorer(client: Client, address: Address, contract: Contract, **changes: Any) -> Scorer:
    registry: Registry = build_registry([(contract, 1)], changes.pop("baselines", ()))
    settings = ProcessorSettings(
        instance="scorer-0", bootstrap_servers="", warehouse=address, clock=changes.pop("clock_kind", "live")
    )
    options: dict[str, Any] = {"grace_s": 0.0, **changes}
    return Scorer(settings, lambda: registry, Report("scorer", "scorer-0"), **options)


class Killed(BaseException):
    """Simulates a kill: nothing catches it."""


class MortalClient:
    """A client that does a number of writes, to all tables or to some, and then dies."""

    def __init__(self, client: Client, writes: int, tables: Collection[str] = ()) -> None:
        self._client, self._left, self._tables = client, writes, tables

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        return partial(self._write, method) if name in ("insert", "insert_selected") else method

    def _write(self, write: Callable[..., None], table: str, *arguments: Any) -> None:
        write(table, *arguments)
        self._left -= not self._tables or table in self._tables
        if self._left == 0:
            raise Killed


def prediction(i: int, at_ms: int, offset: int, **values: Any) -> dict[str, Any]:
    columns = row("predictions", model="m", version="1", id=f"e{i}", at=at_ms, received_at=at_ms + 500)
    return columns | {"partition": offset % 2, "offset": offset // 2, "seq": offset} | values


def label(i: int, at_ms: int, offset: int, value: str, kind: str = "bool", **values: Any) -> dict[str, Any]:
    columns = row("labels", model="m", id=f"e{i}", at=at_ms, received_at=at_ms + 700, partition=i % 3)
    return columns | {"offset": offset, "label": value, "label_type": kind} | values


@dataclass
class Expected:
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    outcomes: list[tuple[Any, Any, Any]] = field(default_factory=list)
    """Class, score (or probabilities) and truth of labelled predictions, as in the event and label."""
    latencies_ms: list[float] = field(default_factory=list)


def expected(
    contract: Contract,
    predictions: Sequence[Mapping[str, Any]],
    labels: Sequence[Mapping[str, Any]],
    slices: Any = lambda event: ("all",),
    window_ms: int = HOUR_MS,
) -> dict[tuple[str, str, int], Expected]:
    assert contract.label is not None
    spec = contract.label
    labels_by_id: dict[str, dict[Any, Mapping[str, Any]]] = defaultdict(dict)
    for each in labels:
        labels_by_id[each["id"]][each["partition"], each["offset"], each["message_index"]] = each
    rows: dict[tuple[str, str], dict[Any, Mapping[str, Any]]] = defaultdict(dict)
    for event in predictions:
        rows[event["version"], event["id"]][event["partition"], event["offset"], event["message_index"]] = event
    label_type = {"bool": "bool", "category": "string", "float": "number"}[spec.type]
    result: dict[tuple[str, str, int], Expected] = defaultdict(Expected)
    for (version, event_id), repeats in rows.items():
        order = sorted(
            repeats.values(), key=lambda e: (e["at"], e["epoch"], e["partition"], e["offset"], e["message_index"])
        )
        event = order[0]
        holding = []
        late = wrong = strange = 0
        for each in labels_by_id[event_id].values():
            age_ms = max(each["at"] - event["at"], each["received_at"] - event["received_at"])
            if each["label_type"] != label_type:
                wrong += 1
            elif spec.classes and each["label"] not in spec.classes:
                strange += 1
            elif age_ms > spec.horizon_s * 1000:
                late += 1
            else:
                holding.append(each)
        last = max(holding, key=lambda e: (e["at"], e["epoch"], e["offset"], e["message_index"]), default=None)
        start = event["at"] // window_ms * window_ms // 1000
        for name in slices(event):
            own = result[version, name, start]
            own.counts["predictions"] += 1
            own.counts["failed"] += event["error"] != ""
            own.counts["duplicates"] += len(order) - 1
            if 0 < event["latency_ms"] < math.inf:
                own.latencies_ms.append(event["latency_ms"])
            for kind in odd_outputs(spec, event):
                own.counts[kind] += 1
            own.counts["labelled"] += last is not None
            own.counts["early"] += sum(each["at"] < event["at"] for each in holding)
            own.counts["corrections"] += max(0, len(holding) - 1)
            own.counts["late"] += late
            own.counts["wrong_type"] += wrong
            own.counts["undeclared_label"] += strange
            if last is not None and not event["error"]:
                output = dict(event["scores"]) if spec.classes else event["score"]
                own.outcomes.append((event["class"], output, last["label"]))
    return result


def odd_outputs(spec: LabelSpec, event: Mapping[str, Any]) -> Iterator[str]:
    """Yield the kinds under which a prediction with an invalid output is counted."""
    if event["error"]:
        return
    score, of_class, scores = event["score"], event["class"], dict(event["scores"])
    if spec.type == "float":
        if not math.isfinite(score):
            yield "unscored"
    elif spec.classes:
        outside = any(not 0 <= p <= 1 for p in scores.values())
        if not of_class and not scores:
            yield "unscored"
        if outside:
            yield "out_of_range"
        if scores and not outside and abs(sum(scores.values()) - 1) > 1e-3:
            yield "invalid_sum"
        if of_class and of_class not in spec.classes:
            yield "undeclared_class"
    else:
        if not of_class and math.isnan(score):
            yield "unscored"
        if not math.isnan(score) and not 0 <= score <= 1:
            yield "out_of_range"
        if of_class not in ("", "true", "false"):
            yield "undeclared_class"


def stored(client: Client) -> dict[tuple[str, str, int], dict[str, Any]]:
    table = client.arrow(
        "SELECT *, toUnixTimestamp(window_start) AS start FROM performance_state FINAL WHERE predictions > 0"
    )
    return {(each["version"], each["slice"], each["start"]): each for each in table.to_pylist()}


def shown(client: Client, columns: str = "value") -> dict[tuple[str, str, str, str, str, int], Any]:
    key = "version, slice, metric, class, window, toUnixTimestamp(window_start)"
    rows = client.rows(f"SELECT {key}, {columns} FROM latest_performance")
    return {tuple(each[:6]): each[6] if len(each) == 7 else each[6:] for each in rows}


def everything(client: Client) -> dict[str, list[tuple[Any, ...]]]:
    """Return all results of the scorer without clocks and revisions: they must not depend on the passes."""
    result = {}
    for table, columns, final in (
        ("performance_state", "* EXCEPT scored_at", " FINAL WHERE predictions > 0"),
        ("latest_performance", "* EXCEPT (revised_at, revision, revisions, maturity)", ""),
        ("hour_labels", "*", " FINAL"),
        ("unmatched_labels", "*", ""),
        ("label_counts", "*", ""),
    ):
        rows = client.rows(f"SELECT {columns} FROM {table}{final}")
        result[table] = sorted((tuple(map(_plain, each)) for each in rows), key=repr)
    return result


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return "nan" if math.isnan(value) else value
    if isinstance(value, dict):
        return tuple(sorted(value.items()))
    return tuple(value) if isinstance(value, list) else value


def batches(rng: random.Random, rows: Iterable[Mapping[str, Any]], most: int) -> list[list[Mapping[str, Any]]]:
    """Split rows into inserts as a recorder might: partitions in offset order, batches of any size."""
    by_partition: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for each in sorted(rows, key=lambda e: (e["offset"], e["message_index"])):
        by_partition[each["partition"]].append(each)
    result = []
    while by_partition:
        partition = rng.choice(sorted(by_partition))
        n = rng.randint(1, most)
        result.append(by_partition[partition][:n])
        by_partition[partition] = by_partition[partition][n:]
        if not by_partition[partition]:
            del by_partition[partition]
    return result


def arrive(client: Client, rng: random.Random, rows: Mapping[str, Sequence[Mapping[str, Any]]], score: Score) -> None:
    """Insert rows in any order, some twice, between passes of a scorer that starts again now and then."""
    waiting = {table: batches(rng, own, 120) for table, own in rows.items()}
    now_s = (START_MS + 6 * DAY_MS) / 1000
    changes: dict[str, Any] = {"clock": lambda: now_s, "grace_s": rng.choice([0.0, 60.0])}
    working = score(**changes)
    while any(waiting.values()):
        table = rng.choice([name for name, left in waiting.items() if left])
        batch = waiting[table].pop(0)
        insert_rows(client, table, batch)
        if rng.random() < 0.2:  # read again
            insert_rows(client, table, batch)
        now_s += rng.choice([1, 20, 70])
        if rng.random() < 0.5:
            working.score_once()
        if rng.random() < 0.2:
            working = score(**changes)
    working.score_once()


def kill_everywhere(client: Client, score: Score, check: Callable[[], None], tables: Collection[str] = ()) -> int:
    """Kill a pass at each of its writes, repeat it and check the rows; return the number of kills."""
    kills = 0
    with snapshot(client) as back:
        while True:
            back()
            mortal: Any = MortalClient(client, kills + 1, tables)
            try:
                score(connect_to=lambda _, mortal=mortal: mortal).score_once()
                break
            except Killed:
                kills += 1
            score().score_once()
            check()
    return kills


def register(client: Client, contract: Contract, *, applied_at: int = 1) -> None:
    columns = {"model": contract.model, "contract_id": contract.id, "yaml": dump_contract(contract)}
    insert_rows(client, "contracts", [columns | {"applied_at": applied_at}])
