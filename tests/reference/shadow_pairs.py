"""Pairs of a candidate and the primary in plain Python, from raw events, and their comparison with `shadow_pairs`."""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from barograph.contract import Contract, LabelSpec, ShadowTest, Slice, Slo

from barograph_server.warehouse.client import Client
from tests.support.pipeline import Pipeline
from tests.support.scoring import HOUR_MS, expected
from tests.support.warehouse import row

THRESHOLD = 0.4
SHADOW = ShadowTest(
    candidate="4",
    of="3",
    copy="3b",
    margins={"accuracy": 0.01},
    prices={"input": 0.5, "output": 2.0},
    candidate_prices={"output": 1.0, "calls": 3.0},
)
SLOW_MS = 8.0
BINARY = Contract(
    model="m",
    slices=(Slice(name="country", source="context.country", values=("de", "fr")),),
    label=LabelSpec(type="bool", positive=True, threshold=THRESHOLD, horizon_s=3 * 86400),
    shadow=SHADOW,
    slo=Slo(latency_ms=SLOW_MS),
)
UNLABELLED = msgspec.structs.replace(
    BINARY, label=None, shadow=msgspec.structs.replace(SHADOW, margins={"latency": 0.1, "missing": 0.1})
)
COUNTS = (
    *("requests", "pairs", "unpaired", "compared", "agreed", "labelled", "both_right", "primary_right"),
    *("candidate_right", "missing_labelled", "missing_right", "scored", "score_pairs", "timed", "answered_alone"),
    *("copy_compared", "copy_agreed", "copy_candidate_agreed", "slow_primary", "slow_candidate", "costed"),
)
SUMS = (
    *("loss_primary", "loss_candidate", "brier_primary", "brier_candidate"),
    *("score_difference", "score_difference_2", "log_latency"),
)
SPENT = ("spent_primary", "spent_candidate")
METRICS = ("calls", "input", "output")
MAPS = (
    *("missing", "class_pairs", "scores_primary", "scores_candidate", "score_bins", "latencies_primary"),
    *("latencies_candidate", "errors_primary", "errors_candidate"),
)
Rows = Mapping[str, Sequence[Mapping[str, Any]]]
"""Raw rows of `predictions`, `shadow_predictions` and `labels`."""
Pairs = dict[tuple[str, int], dict[str, Any]]
"""Counts and sums by slice and start of the window (Unix seconds)."""


def read_topics(pipeline: Pipeline) -> Rows:
    """Read the topics as rows of the raw tables, without the decoders of the product."""
    topics = pipeline.topics
    rows: dict[str, list[dict[str, Any]]] = {"predictions": [], "shadow_predictions": [], "labels": []}
    for topic in (topics.predictions, topics.labels):
        for message in pipeline.read_all(topic):
            event = json.loads(message.value())
            is_label = topic == topics.labels
            table = "labels" if is_label else "shadow_predictions" if event.get("role") == "shadow" else "predictions"
            columns: dict[str, Any] = {
                "epoch": 0,
                "partition": message.partition(),
                "offset": message.offset(),
                "message_index": 0,
                "id": event["id"],
                "at": event["at"],
                "received_at": message.timestamp()[1],
            }
            if is_label:
                columns |= {"label": str(event["label"]).lower(), "label_type": "bool"}
            else:
                columns |= {"version": event["version"], "error": event.get("error", ""), "class": ""}
                columns |= {"score": event.get("score", math.nan), "latency_ms": event.get("latency_ms", math.nan)}
                columns |= {"context": event.get("context", {}), "metrics": event.get("metrics", {})}
            rows[table].append(row(table, **columns))
    return rows


def order(event: Mapping[str, Any]) -> tuple[int, ...]:
    return event["at"], event["epoch"], event["partition"], event["offset"], event["message_index"]


def decision(event: Mapping[str, Any], contract: Contract = BINARY) -> bool | str | None:
    if event["error"]:
        return None
    if contract.label is None:
        return event["class"] or None
    if event["class"]:
        return {"true": True, "false": False}.get(event["class"])
    return event["score"] >= THRESHOLD if 0 <= event["score"] <= 1 else None


def losses(event: Mapping[str, Any], truth: bool) -> tuple[float, float]:
    p = event["score"] if truth else 1 - event["score"]
    return -math.log(max(p, 2.0**-52)), (1 - p) ** 2


def answers_of(rows: Rows, version: str) -> dict[str, list[Mapping[str, Any]]]:
    answers: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for event in sorted(rows["shadow_predictions"], key=order):
        if event["version"] == version:
            answers[event["id"]].append(event)
    return answers


def joined(rows: Rows, contract: Contract = BINARY, candidate: str = "4", copy: str = "3b") -> Pairs:
    labels: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for each in rows["labels"] if contract.label is not None else ():
        labels[each["id"]].append(each)
    shadows, copies = answers_of(rows, candidate), answers_of(rows, copy)
    requests: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for event in sorted(rows["predictions"], key=order):
        if event["version"] == "3":
            requests[event["id"]].append(event)
    result: Pairs = defaultdict(
        lambda: {
            **dict.fromkeys(COUNTS, 0),
            **dict.fromkeys(SUMS, 0.0),
            **{name: Counter() for name in MAPS},
            **{name: [0.0] * len(METRICS) for name in SPENT},
        }
    )
    for event_id, events in requests.items():
        event = events[0]
        answer, copied = (
            next((each for each in answers[event_id] if abs(each["at"] - event["at"]) <= HOUR_MS), None)
            for answers in (shadows, copies)
        )
        # The labels are joined by the reference of the scorer's own tests.
        of_id = labels[event_id]
        (own,) = expected(BINARY, [event], of_id).values()
        truth = None
        if own.counts["labelled"]:
            truth = expected(BINARY, [{**event, "error": ""}], of_id).popitem()[1].outcomes[0][2] == "true"
        for name in ("all", f"country={country if (country := event['context']['country']) != 'us' else 'other'}"):
            counts = result[name, event["at"] // HOUR_MS * 3600]
            counts["requests"] += 1
            counts["answered_alone"] += bool(event["error"] and answer is not None and not answer["error"])
            if name == "all":
                of_candidate = answer["error"] if answer is not None else ""
                counts["errors_primary"].update({event["error"]} - {""})
                counts["errors_candidate"].update({of_candidate} - {""} if of_candidate[:7] != "shadow-" else set())
            if event["error"]:
                counts["missing"]["primary-failed"] += 1
            elif answer is None:
                counts["missing"]["no-event"] += 1
            elif answer["error"]:
                error = answer["error"]
                counts["missing"][error.removeprefix("shadow-") if error.startswith("shadow-") else "error"] += 1
            else:
                add_pair(counts, event, answer, truth, copied, contract)
                if name == "all":
                    add_to_bins(counts, event, answer, truth, contract)
                continue
            if truth is not None and decision(event) is not None:
                counts["missing_labelled"] += 1
                counts["missing_right"] += decision(event) == truth
    for event_id, answers in shadows.items():
        primaries = requests.get(event_id, [])
        for hour in {
            each["at"] // HOUR_MS * 3600
            for each in answers
            if not any(abs(each["at"] - request["at"]) <= HOUR_MS for request in primaries)
        }:
            result["all", hour]["unpaired"] += 1
    first_ms = min((each["at"] for answers in shadows.values() for each in answers), default=math.inf)
    return {(name, start): counts for (name, start), counts in result.items() if (start + 3600) * 1000 > first_ms}


def score_bin(score: float, contract: Contract) -> int:
    if contract.label is None:
        return 0 if score == 0 else int(math.copysign(math.floor(8 * math.log2(abs(score))) + 256, score))
    return log_odds_bin(score, 2)


def log_odds_bin(score: float, steps: int) -> int:
    p = min(max(score, 1e-9), 1 - 1e-9)
    return math.floor(min(max(steps * math.log(p / (1 - p)), -12 * steps), 12 * steps))


def add_to_bins(
    counts: dict[str, Any], event: Mapping[str, Any], answer: Mapping[str, Any], truth: bool | None, contract: Contract
) -> None:
    sides = (("primary", event), ("candidate", answer))
    classes = [decision(each, contract) for each in (event, answer)]
    if None not in classes:
        counts["class_pairs"].update([" → ".join(str(each).lower() for each in classes)])
    scores = [each["score"] for each in (event, answer)]
    if all(map(math.isfinite, scores)):
        bins = [score_bin(score, contract) + 512 for score in scores]
        counts["score_bins"].update([1024 * bins[0] + bins[1]])
    if truth is not None and all(0 <= score <= 1 for score in scores):
        for side, each in sides:
            counts[f"scores_{side}"].update([2 * (log_odds_bin(each["score"], 8) + 96) + truth])
    if event["latency_ms"] > 0 and answer["latency_ms"] > 0:
        for side, each in sides:
            counts[f"latencies_{side}"].update([math.floor(8 * math.log2(each["latency_ms"]))])


def add_pair(
    counts: dict[str, Any],
    event: Mapping[str, Any],
    answer: Mapping[str, Any],
    truth: bool | None,
    copied: Mapping[str, Any] | None,
    contract: Contract,
) -> None:
    counts["pairs"] += 1
    ours, theirs = decision(event, contract), decision(answer, contract)
    both = ours is not None and theirs is not None
    counts["compared"] += both
    counts["agreed"] += both and ours == theirs
    of_copy = decision(copied, contract) if copied is not None else None
    if both and of_copy is not None:
        counts["copy_compared"] += 1
        counts["copy_agreed"] += ours == of_copy
        counts["copy_candidate_agreed"] += ours == theirs
    of_candidate = ("output", "calls") if answer["version"] == "4" else ("input", "output")
    priced = [(event, ("input", "output"), "spent_primary"), (answer, of_candidate, "spent_candidate")]
    if all(math.isfinite(each["metrics"].get(name, math.nan)) for each, names, _ in priced for name in names):
        counts["costed"] += 1
        for each, _, column in priced:
            values = [each["metrics"].get(name, 0.0) for name in METRICS]
            counts[column] = [a + (b if math.isfinite(b) else 0.0) for a, b in zip(counts[column], values, strict=True)]
    if math.isfinite(event["score"]) and math.isfinite(answer["score"]):
        counts["score_pairs"] += 1
        counts["score_difference"] += answer["score"] - event["score"]
        counts["score_difference_2"] += (answer["score"] - event["score"]) ** 2
    if event["latency_ms"] > 0 and answer["latency_ms"] > 0:
        counts["timed"] += 1
        counts["slow_primary"] += event["latency_ms"] > SLOW_MS
        counts["slow_candidate"] += answer["latency_ms"] > SLOW_MS
        counts["log_latency"] += math.log(answer["latency_ms"] / event["latency_ms"])
    if truth is None:
        return
    if both:
        counts["labelled"] += 1
        right = ours == truth, theirs == truth
        kinds = {(True, True): "both_right", (True, False): "primary_right", (False, True): "candidate_right"}
        if right in kinds:
            counts[kinds[right]] += 1
    if 0 <= event["score"] <= 1 and 0 <= answer["score"] <= 1:
        counts["scored"] += 1
        for side, each in (("primary", event), ("candidate", answer)):
            loss, brier = losses(each, truth)
            counts[f"loss_{side}"] += loss
            counts[f"brier_{side}"] += brier


def stored(client: Client, candidate: str = "4") -> Pairs:
    names = (*COUNTS, *SUMS, *MAPS, *SPENT)
    rows = client.rows(
        f"SELECT slice, toUnixTimestamp(window_start), {', '.join(names)} FROM shadow_pairs FINAL "
        "WHERE model = 'm' AND candidate = {candidate:String} AND of = '3' AND (requests > 0 OR unpaired > 0)",
        {"candidate": candidate},
    )
    return {(name, start): dict(zip(names, values, strict=True)) for name, start, *values in rows}


def differences(actual: Pairs, target: Pairs) -> list[str]:
    """Return the differences between stored and expected pairs, each as a sentence; sums may differ by rounding."""
    result = [f"the row {key} is missing" for key in target.keys() - actual.keys()]
    result += [f"the row {key} has no request and no candidate's prediction" for key in actual.keys() - target.keys()]
    for key in sorted(actual.keys() & target.keys()):
        own, expected_row = actual[key], target[key]
        exact = [name for name in (*COUNTS, *MAPS) if own[name] != expected_row[name]]
        sums = [name for name in SUMS if not _is_close(own[name], expected_row[name])]
        none = [0.0] * len(METRICS)
        sums += [name for name in SPENT if not all(map(_is_close, own[name] or none, expected_row[name]))]
        for name in (*exact, *sums):
            result.append(f"{name} of {key} is {own[name]!r}, and the raw events have {expected_row[name]!r}")
        if own["pairs"] + sum(own["missing"].values()) != own["requests"]:
            result.append(f"pairs and missing of {key} do not add up to its requests")
    return result


def _is_close(actual: float, target: float) -> bool:
    return math.isclose(actual, target, rel_tol=1e-12, abs_tol=1e-9)
