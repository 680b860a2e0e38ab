"""Compares the final contents of the warehouse and the topics with the source data."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from barograph.contract import Contract

from barograph_server.streams.monitor.windows import judged_until_s
from tests.faults.expected import Expected
from tests.faults.source import STRICT, Sent
from tests.support.pipeline import Pipeline

SHOWN = 3


class Verdict:
    def __init__(self) -> None:
        self.compared: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.doubled: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.evidence: list[str] = []
        """Where consumers and processors stood when data did not arrive."""
        self.failed = False
        """Whether the comparison did not take place."""

    @property
    def holds(self) -> bool:
        return not (self.lost or self.doubled or self.wrong)

    def number(self, what: str, key: object, actual: int, expected: int) -> None:
        self.compared[what] += 1
        if actual == expected:
            return
        (self.lost if actual < expected else self.doubled)[what] += abs(expected - actual)
        self.say(f"{what} of {key}: {actual} found, {expected} expected")

    def numbers(self, what: str, actual: Mapping[Any, int], expected: Mapping[Any, int]) -> None:
        for key in sorted(actual.keys() | expected.keys()):
            self.number(what, key, actual.get(key, 0), expected.get(key, 0))

    def fail(self, what: str) -> None:
        """Record why there is no comparison; a sabotage is not noticed by it."""
        self.failed = True
        self.say(what)

    def say(self, difference: str) -> None:
        self.wrong.append(difference)

    def rows(self, what: str, actual: Counter[Any], expected: Iterable[Any]) -> None:
        expected_rows = Counter(iter(expected))
        self.compared[what] += sum(expected_rows.values())
        missing, spare = expected_rows - actual, actual - expected_rows
        if missing:
            self.lost[what] += sum(missing.values())
            self.say(f"{what}: {sum(missing.values())} missing, such as {list(missing)[:SHOWN]}")
        if spare:
            self.doubled[what] += sum(spare.values())
            self.say(f"{what}: {sum(spare.values())} too many, such as {list(spare)[:SHOWN]}")

    def summary_lines(self) -> list[str]:
        left = len(self.wrong) - 20
        return [*self.wrong[:20], *([f"… and {left} more"] if left > 0 else [])]


def check_source(verdict: Verdict, pipeline: Pipeline, sent: Mapping[tuple[str, int], list[Sent]]) -> None:
    result: dict[tuple[str, int], list[Any]] = defaultdict(list)
    for topic in (pipeline.topics.predictions, pipeline.topics.labels):
        for message in pipeline.read_all(topic):
            result[topic, message.partition()].append(message)
    for key, messages in sent.items():
        received = result[key]
        first = received[0].offset() if received else len(messages)
        wrong = [each.offset() for each in received if (each.value() or b"") != (messages[each.offset()].value or b"")]
        if wrong or (received and received[-1].offset() != len(messages) - 1) or len(received) != len(messages) - first:
            verdict.say(f"the topic and partition {key} differ from the messages sent: offsets {wrong[:SHOWN]}")
        verdict.compared["messages in the topics"] += len(received)


def check_panes(verdict: Verdict, pipeline: Pipeline, expected: Expected) -> None:
    volume: Counter[tuple[str, str, str, int]] = Counter()
    for model, version, slice_, start, n in pipeline.rows(
        "SELECT model, version, slice, toUnixTimestamp(pane_start), n FROM volume FINAL WHERE n > 0"
    ):
        volume[model, version, slice_, start] += n
    verdict.numbers("events in panes", volume, expected.volume)
    counts: dict[tuple[str, str, str, str, int], list[int]] = defaultdict(lambda: [0, 0, 0])
    cells: dict[tuple[str, str, str, str, int, str], list[int]] = {}
    for model, version, baseline, slice_, field, start, *numbers, row in pipeline.rows(
        "SELECT model, version, baseline_id, slice, field, toUnixTimestamp(pane_start), n, nulls, invalid, counts "
        "FROM panes FINAL WHERE n + invalid > 0"
    ):
        counts[model, version, slice_, field, start] = [
            a + b for a, b in zip(counts[model, version, slice_, field, start], numbers, strict=True)
        ]
        if model == STRICT and version == "1":
            cells[model, version, slice_, field, start, baseline] = row
    for pane in sorted(counts.keys() | expected.panes.keys()):
        expected_pane = expected.panes[pane]
        for name, number in zip(("n", "nulls", "invalid"), counts[pane], strict=True):
            verdict.number(f"{name} of panes", pane, number, getattr(expected_pane, name))
    verdict.compared["cells of panes"] += len(expected.cells)
    for where in sorted(cells.keys() | expected.cells.keys()):
        row, expected_cells = cells.get(where, []), expected.cells[where]
        if [expected_cells[i] for i in range(len(row))] != list(row) or sum(row) != sum(expected_cells.values()):
            verdict.say(f"cells of {where}: {row} found, {dict(expected_cells)} expected")


def check_raw(verdict: Verdict, pipeline: Pipeline, expected: Expected) -> None:
    rows = pipeline.rows(
        "SELECT partition, offset, message_index, model, version, id, toUnixTimestamp64Milli(at), numbers['x'], "
        "numbers['k'], numbers['flag'], strings['colour'], context['region'], score FROM predictions FINAL"
    )
    verdict.rows("raw predictions", Counter(row[:3] for row in rows), expected.predictions)
    for row in rows:
        event = expected.predictions.get(row[:3])
        if event is None:
            continue
        values = (event.model, event.version, event.id, event.at_ms)
        exact = (event.x, event.k, None if event.flag is None else float(event.flag), event.colour or "", event.region)
        score = event.score is None if math.isnan(row[12]) else row[12] == event.score
        if row[3:7] != values or (event.exact and (_plain(row[7:12]) != exact or not score)):
            verdict.say(f"raw prediction {row[:3]} is {row[3:]}, but {event} was sent")
    labels = pipeline.rows(
        "SELECT partition, offset, message_index, id, label, toUnixTimestamp64Milli(at), model FROM labels FINAL"
    )
    verdict.rows("raw labels", Counter(row[:3] for row in labels), expected.labels)
    for row in labels:
        label = expected.labels.get(row[:3])
        if label is not None and row[3:] != (label.id, str(label.label).lower(), label.at_ms, STRICT):
            verdict.say(f"raw label {row[:3]} is {row[3:]}, but {label} was sent")


def _plain(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(None if isinstance(value, float) and math.isnan(value) else value for value in values)


def check_dead(verdict: Verdict, pipeline: Pipeline, topic: str, expected: Expected) -> None:
    result: Counter[tuple[int, int, int, str]] = Counter()
    for message in pipeline.read_all(f"{topic}.dead"):
        headers = {name: value.decode() for name, value in message.headers()}
        result[
            int(headers["source-partition"]), int(headers["source-offset"]), int(headers["index"]), headers["reason"]
        ] += 1
    verdict.rows(f"dead letters of {topic.removeprefix(pipeline.prefix)}", result, expected.dead[topic].elements())


def check_dead_counts(verdict: Verdict, pipeline: Pipeline, expected: Expected) -> None:
    result = {
        (topic, reason): int(n)
        for topic, reason, n in pipeline.rows("SELECT topic, reason, sum(n) FROM dead_letters GROUP BY topic, reason")
    }
    expected_counts = Counter(
        (topic.removeprefix(pipeline.prefix), reason)
        for topic, entries in expected.dead.items()
        for *_, reason in entries.elements()
    )
    verdict.numbers("counts of dead letters", result, expected_counts)


def check_dead_partials(verdict: Verdict, pipeline: Pipeline, damaged: set[int]) -> None:
    """Check that every damaged record of `partials` is dead-lettered at least once: the monitor has no transactions."""
    result = {message.value() for message in pipeline.read_all(pipeline.topics.partials_dead)}
    expected = {b"poison %d" % i for i in damaged}
    verdict.compared["dead letters of partials"] += len(expected)
    if result != expected:
        verdict.say(f"dead letters of partials: {sorted(result ^ expected)[:SHOWN]} are missing or unexpected")


def check_judged(
    verdict: Verdict, actual: Counter[tuple[str, str, str, str, int, int]], expected: Expected, contract: Contract
) -> None:
    """Check that every pane of the strict model is part of a verdict of each window length.

    The last windows are those that end by the last event, or soon after it (docs/decisions/0013).
    """
    starts = [start for (model, *_, start), count in expected.panes.items() if model == STRICT and count.n]
    until = {window: judged_until_s(window, min(starts), max(starts) + contract.pane_s) for window in contract.windows}
    for (model, version, slice_, field, start), count in sorted(expected.panes.items()):
        for window in contract.windows:
            end = -(-(start + contract.pane_s) // window.hop_s) * window.hop_s
            if end > until[window]:
                continue
            key = (model, version, slice_, field, end - window.length_s, end)
            # Slices without training data are counted but have no baseline to compare with.
            if model == STRICT and count.n and not slice_.endswith("=other"):
                verdict.compared["judged panes"] += 1
                if key not in actual:
                    verdict.lost["judged panes"] += 1
                    verdict.say(f"no verdict on {key}, which has {count.n} events")


def check_verdicts(
    verdict: Verdict, pipeline: Pipeline, expected: Expected, contract: Contract, *, strict: bool
) -> None:
    """Check the claims of verdicts: their n equals that of the source, and completeness is not too high.

    With `strict` no event of the strict model can have been late, so that every revision must be final.
    """
    by_field: dict[tuple[str, str, str, str], list[tuple[int, int]]] = defaultdict(list)
    for (model, version, slice_, field, start), count in expected.panes.items():
        by_field[model, version, slice_, field].append((start, count.n))
    result: Counter[tuple[str, str, str, str, int, int]] = Counter()
    for model, version, slice_, field, begin, end, n in pipeline.rows(
        "SELECT model, version, slice, field, toUnixTimestamp(window_start), toUnixTimestamp(window_end), sum(n) "
        "FROM latest_drift GROUP BY model, version, slice, field, window_start, window_end"
    ):
        result[model, version, slice_, field, begin, end] += n
    for key, n in sorted(result.items()):
        model, version, slice_, field, begin, end = key
        panes = by_field[model, version, slice_, field]
        expected_n = sum(count for start, count in panes if begin <= start < end)
        verdict.number("n of verdicts", key, n, expected_n)
    for what, condition in (
        ("completeness is not between 0 and 1", "NOT (completeness BETWEEN 0 AND 1)"),
        ("completeness is less than 1 although nothing was lost", "completeness < 1"),
    ):
        [(rows,)] = pipeline.rows(f"SELECT count() FROM drift FINAL WHERE {condition}")
        if rows:
            verdict.say(f"{rows} verdicts whose {what}")
    if not strict:
        return
    check_judged(verdict, result, expected, contract)
    changed = pipeline.rows(
        "SELECT slice, field, window, toUnixTimestamp(window_end), groupUniqArray(n) AS distinct_n FROM drift FINAL "
        f"WHERE model = '{STRICT}' GROUP BY version, baseline_id, slice, field, window, window_end "
        "HAVING length(distinct_n) > 1"
    )
    verdict.compared["revisions of verdicts"] += pipeline.rows(f"SELECT count() FROM drift WHERE model = '{STRICT}'")[
        0
    ][0]
    if changed:
        verdict.say(f"{len(changed)} windows were judged before all their events had arrived, such as {changed[0]}")
    [(late,)] = pipeline.rows(f"SELECT sum(late) FROM volume FINAL WHERE model = '{STRICT}'")
    if late:
        verdict.say(f"{late} events arrived late although they were sent within the allowed lateness")


def check_nothing_lost(verdict: Verdict, pipeline: Pipeline) -> None:
    losses = pipeline.rows("SELECT source_partition, start_offset, end_offset FROM lost_ranges")
    if losses:
        verdict.say(f"lost ranges are recorded although nothing was lost: {losses[:SHOWN]}")


def check_scores(verdict: Verdict, pipeline: Pipeline, expected: Expected) -> None:
    rows = pipeline.rows(
        "SELECT version, slice, toUnixTimestamp(window_start), sum(predictions), sum(labelled) "
        f"FROM performance_state FINAL WHERE model = '{STRICT}' GROUP BY 1, 2, 3 HAVING sum(predictions) > 0"
    )
    for i, what in enumerate(("scored predictions", "joined labels")):
        source = {key: counts[i] for key, counts in expected.labelled.items()}
        verdict.numbers(what, {row[:3]: row[3 + i] for row in rows}, source)
