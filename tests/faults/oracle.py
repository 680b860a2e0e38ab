"""Holds what the warehouse and the topics have at the end to what the source data say."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from barograph.contract import Contract

from tests.faults.expected import Expected
from tests.faults.source import STRICT, Sent
from tests.support.pipeline import Pipeline

SHOWN = 3
"""Differences of one kind that are shown."""


class Verdict:
    """What was compared, and every difference."""

    def __init__(self) -> None:
        self.compared: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.doubled: Counter[str] = Counter()
        self.wrong: list[str] = []

    @property
    def holds(self) -> bool:
        """Whether nothing differs."""
        return not (self.lost or self.doubled or self.wrong)

    def number(self, what: str, key: object, found: int, expected: int) -> None:
        """Compare a count."""
        self.compared[what] += 1
        if found == expected:
            return
        (self.lost if found < expected else self.doubled)[what] += abs(expected - found)
        self.say(f"{what} of {key}: {found} found, {expected} expected")

    def say(self, sentence: str) -> None:
        """Note a difference that is no count."""
        self.wrong.append(sentence)

    def rows(self, what: str, found: Counter[Any], expected: Iterable[Any]) -> None:
        """Compare rows by their keys, each of which must be there once."""
        wanted_value = Counter(iter(expected))
        self.compared[what] += sum(wanted_value.values())
        missing, spare = wanted_value - found, found - wanted_value
        if missing:
            self.lost[what] += sum(missing.values())
            self.say(f"{what}: {sum(missing.values())} missing, such as {list(missing)[:SHOWN]}")
        if spare:
            self.doubled[what] += sum(spare.values())
            self.say(f"{what}: {sum(spare.values())} too many, such as {list(spare)[:SHOWN]}")

    def sentences(self) -> list[str]:
        """The differences, not more than a page of them."""
        left = len(self.wrong) - 20
        return [*self.wrong[:20], *([f"… and {left} more"] if left > 0 else [])]


def check_source(verdict: Verdict, pipeline: Pipeline, sent: Mapping[tuple[str, int], list[Sent]]) -> None:
    """Hold the topics to what was sent: were it not there once and in order, nothing else would mean anything."""
    result: dict[tuple[str, int], list[Any]] = defaultdict(list)
    for topic in (pipeline.topics.predictions, pipeline.topics.labels):
        for message in pipeline.read_all(topic):
            result[topic, message.partition()].append(message)
    for key, messages in sent.items():
        there = result[key]
        first = there[0].offset() if there else len(messages)
        wrong = [each.offset() for each in there if (each.value() or b"") != (messages[each.offset()].value or b"")]
        if wrong or (there and there[-1].offset() != len(messages) - 1) or len(there) != len(messages) - first:
            verdict.say(f"the source itself is not in {key} as it was sent: from offset {wrong[:SHOWN]}")
        verdict.compared["messages in the topics"] += len(there)


def check_panes(verdict: Verdict, pipeline: Pipeline, expected: Expected) -> None:
    """Counts of every pane, and the cells where the baseline is known."""
    volume: Counter[tuple[str, str, str, int]] = Counter()
    for model, version, slice_, start, n in pipeline.rows(
        "SELECT model, version, slice, toUnixTimestamp(pane_start), n FROM volume FINAL WHERE n > 0"
    ):
        volume[model, version, slice_, start] += n
    for key in sorted(volume.keys() | expected.volume.keys()):
        verdict.number("events in panes", key, volume[key], expected.volume[key])
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
        wanted_value = expected.panes[pane]
        for name, number in zip(("n", "nulls", "invalid"), counts[pane], strict=True):
            verdict.number(f"{name} of panes", pane, number, getattr(wanted_value, name))
    verdict.compared["cells of panes"] += len(expected.cells)
    for where in sorted(cells.keys() | expected.cells.keys()):
        row, wanted_cells = cells.get(where, []), expected.cells[where]
        if [wanted_cells[i] for i in range(len(row))] != list(row) or sum(row) != sum(wanted_cells.values()):
            verdict.say(f"cells of {where}: {row} found, {dict(wanted_cells)} expected")


def check_raw(verdict: Verdict, pipeline: Pipeline, expected: Expected) -> None:
    """Every raw row, with its values."""
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
            verdict.say(f"raw prediction {row[:3]} is {row[3:]}, and {event} was sent")
    labels = pipeline.rows(
        "SELECT partition, offset, message_index, id, label, toUnixTimestamp64Milli(at), model FROM labels FINAL"
    )
    verdict.rows("raw labels", Counter(row[:3] for row in labels), expected.labels)
    for row in labels:
        label = expected.labels.get(row[:3])
        if label is not None and row[3:] != (label.id, str(label.label).lower(), label.at_ms, STRICT):
            verdict.say(f"raw label {row[:3]} is {row[3:]}, and {label} was sent")


def _plain(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(None if isinstance(value, float) and math.isnan(value) else value for value in values)


def check_dead(verdict: Verdict, pipeline: Pipeline, topic: str, expected: Expected) -> None:
    """Every dead letter of a topic once."""
    result: Counter[tuple[int, int, int, str]] = Counter()
    for message in pipeline.read_all(f"{topic}.dead"):
        reported = {name: value.decode() for name, value in message.headers()}
        result[
            int(reported["source-partition"]),
            int(reported["source-offset"]),
            int(reported["index"]),
            reported["reason"],
        ] += 1
    verdict.rows(f"dead letters of {topic.removeprefix(pipeline.prefix)}", result, expected.dead[topic].elements())


def check_dead_counts(verdict: Verdict, pipeline: Pipeline, expected: Expected) -> None:
    """What the warehouse counts of dead letters, by topic and reason."""
    result = {
        (topic, reason): int(n)
        for topic, reason, n in pipeline.rows("SELECT topic, reason, sum(n) FROM dead_letters GROUP BY topic, reason")
    }
    wanted_value = Counter(
        (topic.removeprefix(pipeline.prefix), reason)
        for topic, entries in expected.dead.items()
        for *_, reason in entries.elements()
    )
    for key in sorted(result.keys() | wanted_value.keys()):
        verdict.number("counts of dead letters", key, result.get(key, 0), wanted_value[key])


def check_buried(verdict: Verdict, pipeline: Pipeline, buried: set[int]) -> None:
    """Every damaged record of `partials` was put aside, at least once: the monitor's is no transaction."""
    result = {message.value() for message in pipeline.read_all(pipeline.topics.partials_dead)}
    expected = {b"poison %d" % i for i in buried}
    verdict.compared["dead letters of partials"] += len(expected)
    if result != expected:
        verdict.say(
            f"dead letters of partials: {sorted(result ^ expected)[:SHOWN]} are there and should not be, or not"
        )


def check_judged(
    verdict: Verdict, found: Counter[tuple[str, str, str, str, int, int]], expected: Expected, contract: Contract
) -> None:
    """Every pane of the strict model stands in a verdict of each length."""
    for (model, version, slice_, field, start), count in sorted(expected.panes.items()):
        for window in contract.windows:
            end = -(-(start + contract.pane_s) // window.hop_s) * window.hop_s
            key = (model, version, slice_, field, end - window.length_s, end)
            # A slice that training did not hold is counted, and there is nothing to judge it against.
            if model == STRICT and count.n and not slice_.endswith("=other"):
                verdict.compared["judged panes"] += 1
                if key not in found:
                    verdict.lost["judged panes"] += 1
                    verdict.say(f"no verdict on {key}, where {count.n} events are")


def check_verdicts(
    verdict: Verdict, pipeline: Pipeline, expected: Expected, contract: Contract, *, strict: bool
) -> None:
    """What verdicts claim: their n is that of the source, their completeness no more than was there.

    Args:
        verdict: takes the differences.
        pipeline: where they are.
        expected: what the source says.
        contract: of the strict model.
        strict: whether nothing of the strict model can have been late, so that each revision must hold it all.
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
        wanted_value = sum(count for start, count in panes if begin <= start < end)
        verdict.number("n of verdicts", key, n, wanted_value)
    for what, condition in (
        ("completeness is not between 0 and 1", "NOT (completeness BETWEEN 0 AND 1)"),
        ("completeness is under 1 though nothing was lost", "completeness < 1"),
    ):
        [(rows,)] = pipeline.rows(f"SELECT count() FROM drift FINAL WHERE {condition}")
        if rows:
            verdict.say(f"{rows} verdicts whose {what}")
    if not strict:
        return
    check_judged(verdict, result, expected, contract)
    changed = pipeline.rows(
        "SELECT slice, field, window, toUnixTimestamp(window_end), groupUniqArray(n) AS every FROM drift FINAL "
        f"WHERE model = '{STRICT}' GROUP BY version, baseline_id, slice, field, window, window_end "
        "HAVING length(every) > 1"
    )
    verdict.compared["revisions of verdicts"] += pipeline.rows(f"SELECT count() FROM drift WHERE model = '{STRICT}'")[
        0
    ][0]
    if changed:
        verdict.say(f"{len(changed)} windows were judged before all of them had come, such as {changed[0]}")
    [(late,)] = pipeline.rows(f"SELECT sum(late) FROM volume FINAL WHERE model = '{STRICT}'")
    if late:
        verdict.say(f"{late} events in order came after their panes had been sealed")


def check_nothing_lost(verdict: Verdict, pipeline: Pipeline) -> None:
    """No loss is recorded where there was none."""
    losses = pipeline.rows("SELECT source_partition, start_offset, end_offset FROM lost_ranges")
    if losses:
        verdict.say(f"losses are recorded though nothing was lost: {losses[:SHOWN]}")


def check_scores(verdict: Verdict, pipeline: Pipeline, expected: Expected) -> None:
    """Predictions and labels as the scorer joined them."""
    result = {
        (version, slice_, start): (n, labelled)
        for version, slice_, start, n, labelled in pipeline.rows(
            "SELECT version, slice, toUnixTimestamp(window_start), sum(predictions), sum(labelled) "
            f"FROM performance_state FINAL WHERE model = '{STRICT}' GROUP BY 1, 2, 3 HAVING sum(predictions) > 0"
        )
    }
    for key in sorted(result.keys() | expected.labelled.keys()):
        have, want = result.get(key, (0, 0)), expected.labelled.get(key, (0, 0))
        verdict.number("scored predictions", key, have[0], want[0])
        verdict.number("joined labels", key, have[1], want[1])
