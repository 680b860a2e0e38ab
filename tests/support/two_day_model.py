"""Two days of a watched model as the processors would have written them, by hand: small, and every figure known.

Models of three shapes: `binary` has a score and classes, `classes` more classes and none but a class, `number` predicts
a number. Panes and windows of 6 h and a day end each hour up to `END`. The first field moves in the last day: its PSI
is 0.05 before and 0.35 then; all others stay at 0.02. The slice `arm=b` never has enough data.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import msgspec
from barograph.contract import Arms, Contract, DeclaredConsumer, DeclaredSource, LabelSpec, Slice, Slo
from barograph.contract.file import dump_contract

from barograph_server.dashboards.macros import TimeRange, Value, expand
from barograph_server.sketches.baseline.baseline import Baseline, FieldBaseline, dump_baseline
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.governance.lineage import store_lineage
from barograph_server.warehouse.operations.metrics import METRICS as OF_PROCESSORS
from barograph_server.warehouse.operations.processor_reports import ProcessorReport, insert_reports
from barograph_server.warehouse.panels.named import named_queries
from tests.support.outputs import output_baseline, output_contract
from tests.support.warehouse import add_rows

HOUR_S, DAY_S, HOURS = 3600, 86_400, 48
END_S = int(datetime.now(UTC).timestamp()) // HOUR_S * HOUR_S - HOUR_S
END = datetime.fromtimestamp(END_S, UTC)
START_S = END_S - HOURS * HOUR_S
MOVED_S = END_S - DAY_S
"""From here on the first field has moved."""

WINDOWS = {"6h": 6 * HOUR_S, "1d": DAY_S}
SLICES = ("all", "arm=a", "arm=b")
VERSIONS = {"1": range(0, 48), "2": range(12, 48)}
"""Version → the hours since `START_S` in which it had traffic."""

REQUESTS, ERRORS, SLOW, LATE = 1000, 20, 50, 10
"""Per hour and version."""

FIELDS = {
    "binary": ("x", "score", "class", "latency_ms", "tokens"),
    "classes": ("x", "class", "latency_ms", "tokens"),
    "number": ("x", "score", "tokens"),
}
LABELS = {
    "binary": LabelSpec(type="bool"),
    "classes": LabelSpec(type="category", classes=("no", "perhaps", "yes")),
    "number": LabelSpec(type="float"),
}
METRICS = {"binary": "auc", "classes": "accuracy", "number": "mae"}


@dataclass(frozen=True)
class Watched:
    name: str
    kind: str
    contract: Contract
    baseline: Baseline

    @property
    def fields(self) -> tuple[FieldBaseline, ...]:
        return self.baseline.fields


def watched(kind: str, name: str) -> Watched:
    fields = FIELDS[kind]
    contract = output_contract(
        model=name,
        label=LABELS[kind],
        slices=(Slice(name="arm", source="arm", values=("a", "b")),),
        arms=Arms(shares={"a": 0.5, "b": 0.5}),
        slo=Slo(latency_ms=100.0, latency_share=0.95, error_rate=0.01),
        fields=tuple(f for f in output_contract().fields if f.name in fields),
        declared_sources={"fleet": DeclaredSource(owner="ana", system="airflow", fields=("x",))},
        consumers={"gates": DeclaredConsumer(owner="bo", group="gates")},
    )
    baseline = output_baseline("1", 1)
    retained = tuple(sorted((f for f in baseline.fields if f.name in fields), key=lambda f: fields.index(f.name)))
    return Watched(name, kind, contract, msgspec.structs.replace(baseline, model=name, fields=retained))


def psi_at(model: Watched, field: str, end_s: int) -> float:
    if field != model.fields[0].name:
        return 0.02
    return 0.35 if end_s > MOVED_S else 0.05


def level_of(psi: float, slice_name: str) -> str:
    if slice_name == "arm=b":
        return "insufficient"
    return "major" if psi > 0.2 else "minor" if psi > 0.1 else "stable"


def fill(client: Client, model: Watched) -> None:
    _catalogue(client, model)
    for version, hours in VERSIONS.items():
        known = {"model": model.name, "version": version, "baseline_id": model.baseline.id}
        _counts(client, model, known, hours)
        _verdicts(client, model, known, hours)
        _performance(client, model, version)
    _labels(client, model)
    _drill(client, model)
    _health(client, model)
    _causes(client, model)
    _comparisons(client, model)
    _shadow(client, model)
    _prompts(client, model)


def _catalogue(client: Client, model: Watched) -> None:
    applied = {"contract_id": model.contract.id, "yaml": dump_contract(model.contract), "applied_at": START_S * 1000}
    add_rows(client, "contracts", [applied], model=model.name)
    store_lineage(client, [model.contract], START_S * 1000)
    accepted = {"baseline_id": model.baseline.id, "accepted_at": START_S * 1000}
    baselines = [
        {"version": version, "effective_from": effective_s, "reason": reason}
        for version, effective_s, reason in (("1", 0, ""), ("2", 0, ""), ("2", END_S - 3 * HOUR_S, "retrained"))
    ]
    add_rows(client, "baselines", baselines, model=model.name, body=dump_baseline(model.baseline).decode(), **accepted)
    times = dict.fromkeys(("watermark", "sealed_until", "updated_at"), END_S * 1000)
    add_rows(client, "progress", [times], model=model.name, record_seq=1)


def _counts(client: Client, model: Watched, known: dict[str, Any], hours: range) -> None:
    volume, panes = [], []
    starts = [{"pane_start": START_S + hour * HOUR_S} for hour in hours]
    for start, (slice_name, part) in product(starts, zip(SLICES, (1.0, 0.8, 0.2), strict=True)):
        counts = {"n": REQUESTS, "errors": ERRORS, "timed": REQUESTS, "slow": SLOW, "late": LATE}
        volume.append({**start, "slice": slice_name, **{name: int(n * part) for name, n in counts.items()}})
        for field in model.fields:
            cells = list(field.slices["all"].cells)
            if field is model.fields[0] and start["pane_start"] >= MOVED_S:
                cells = cells[::-1]
            panes.append({**start, "slice": slice_name, "field": field.name, "n": sum(cells), "counts": cells})
    common = {**known, "pane_s": HOUR_S, "record_seq": 1}
    add_rows(client, "volume", volume, **common, sealed=True)
    add_rows(client, "panes", panes, **common)
    add_rows(client, "errors", starts, **common, slice="all", kind="timeout", n=ERRORS)
    add_rows(client, "violations", starts, **common, field="x", kind="above", n=3, total=REQUESTS, policy="flag")
    new = {"field": model.fields[0].name, "category": "never seen", "pane_start": MOVED_S, "n_low": 7, "n_high": 9}
    add_rows(client, "new_categories", [new], **common)


def _verdicts(client: Client, model: Watched, known: dict[str, Any], hours: range) -> None:
    drift, rates, distances = [], [], []
    quantiles = {name: float(i) for i, name in enumerate(("p05", "p25", "p50", "p75", "p95", "p99"))}
    kinds = [(field.name, kind) for field in model.fields for kind in ("null", "invalid", "below", "above", "unseen")]
    for (window, length_s), hour in product(WINDOWS.items(), hours):
        end_s = START_S + (hour + 1) * HOUR_S
        judged = {"window": window, "window_start": end_s - length_s, "window_end": end_s, "judged_at": end_s * 1000}
        for slice_name in SLICES:
            for field in model.fields:
                psi = psi_at(model, field.name, end_s)
                reason = "too few events" if slice_name == "arm=b" else ""
                ends = {"psi": psi, "psi_low": psi - 0.01, "psi_high": psi + 0.01}
                own = {**judged, "slice": slice_name, "field": field.name, "reason": reason, **ends}
                # A revised first verdict, which no panel may show.
                drift.append({**own, "psi": 9.0, "level": "major", "record_seq": 1})
                drift.append({**own, "level": level_of(psi, slice_name), "record_seq": 2})
            for field_name, kind in (*kinds, ("events", "error")):
                share = 0.04 if kind == "null" else 0.001
                rate = {"k": int(REQUESTS * share), "rate": share, "delta": share - 0.001}
                level = "minor" if kind == "null" else "stable"
                levels = {"level": level, "completeness": 1 - 0.01 * (kind == "error")}
                rates.append({**judged, "slice": slice_name, "field": field_name, "kind": kind, **rate, **levels})
        if hour % 6 == 0:
            distances += [{**judged, "field": field.name} for field in model.fields if field.kind == "numeric"]
    thresholds = {"threshold_minor": 0.1, "threshold_major": 0.2, "season": "none", "q_value": 0.5, "completeness": 1.0}
    shares = {"top_bin": "null", "expected_share": 0.1, "actual_share": 0.2}
    add_rows(client, "drift", drift, **known, n=REQUESTS, **thresholds, **shares)
    thresholds = {"threshold_minor": 0.01, "threshold_major": 0.05, "baseline_rate": 0.001}
    add_rows(client, "rates", rates, **known, n=REQUESTS, **thresholds, record_seq=2)
    moments = {"ks": 0.1, "ks_threshold": 0.2, "w1": 0.3, "mean": 2.5, "mean_shift": 0.1, "std_ratio": 1.1}
    add_rows(client, "distances", distances, **known, slice="all", n=REQUESTS, **quantiles, **moments, record_seq=2)


def _performance(client: Client, model: Watched, version: str) -> None:
    first_day_s = START_S // DAY_S * DAY_S
    windows = [
        {"slice": slice_name, "window": window, "window_start": start_s, "window_end": start_s + length_s}
        for window, length_s in (("1d", DAY_S), ("1h", HOUR_S))
        for start_s in range(first_day_s, first_day_s + 2 * DAY_S, length_s)
        for slice_name in SLICES
    ]
    measured = {"value": 0.7, "low": 0.68, "high": 0.72, "n": 500, "predictions": 1000, "coverage": 0.5}
    judged = {"maturity": 0.9, "mature": True, "level": "stable", "promise": 0.65, "reference": 0.71}
    estimated = {"cbpe": 0.69, "cbpe_low": 0.6, "cbpe_high": 0.8, "raw_share": 1.0, "difference": -0.01}
    common = {"model": model.name, "version": version, "metric": METRICS[model.kind], "revised_at": END_S * 1000}
    add_rows(client, "performance", windows, **common, **measured, **judged, **estimated, revision=1)
    for hour in (0, 30):
        client.command(
            "INSERT INTO performance_state (model, version, basis, slice, window_start, window_s, predictions, "
            "duplicates, labelled, late, bins, bin_labelled, bin_labelled_scores, bin_positives, records) VALUES "
            "({model:String}, {version:String}, 'basis', 'all', {start:UInt32}, 3600, 1000, 4, 400, 6, [10, 90], "
            "[200, 200], [40, 160], [50, 150], 1400)",
            {"model": model.name, "version": version, "start": START_S + hour * HOUR_S},
        )


def _labels(client: Client, model: Watched) -> None:
    scored = {"state": "scored", "basis": "basis", "kind": model.kind, "raw_share": 1.0, "updated_at": END_S * 1000}
    add_rows(client, "scorer_models", [scored], model=model.name)
    curve = {"ages_s": [60.0, 7200.0, 864_000.0], "shares": [0.1, 0.6, 1.0], "learned_at": MOVED_S * 1000}
    bounds = {"shares_low": [0.0, 0.5, 0.9], "shares_high": [0.2, 0.7, 1.0], "basis": "basis", "coverage": 0.5}
    add_rows(client, "maturity", [curve], model=model.name, **bounds, mature_age_s=864_000.0)
    client.command(
        "INSERT INTO pending_labels (model, hash, id, at, received_at) "
        "VALUES ({model:String}, 1, 'x', {at:UInt32}, {at:UInt32})",
        {"model": model.name, "at": MOVED_S},
    )


def _comparisons(client: Client, model: Watched) -> None:
    compared = [
        {"kind": kind, "left": left, "right": right, "measure": measure, "level": level}
        for kind, left, right in (("version", "1", "2"), ("arm", "a", "b"))
        for measure, level in (("psi", "minor"), ("mean", ""))
    ]
    window = {"field": "x", "window": "1d", "window_start": END_S - DAY_S, "window_end": END_S, "completeness": 1.0}
    values = {"n_left": 10, "n_right": 10, "left_value": 1.0, "right_value": 1.5}
    ends = {"difference": 0.5, "difference_low": 0.1, "difference_high": 0.9, "judged_at": END_S * 1000}
    add_rows(client, "comparisons", compared, model=model.name, **window, **values, **ends, record_seq=2)
    check = {"unit": "prediction", "since": START_S * 1000, "at": END_S * 1000, "level": "stable"}
    shares = {"units": 500, "share": 0.5, "expected_share": 0.5, "p_value": 1.0}
    add_rows(client, "arm_ratios", [{"arm": "a"}, {"arm": "b"}], model=model.name, **check, **shares)


def _drill(client: Client, model: Watched) -> None:
    at_ms = (END_S - HOUR_S) * 1000
    fault = {"fault": "silence", "mode": "fast", "fault_start": at_ms - 7200_000, "fault_end": at_ms - 3600_000}
    add_rows(client, "drills", [fault], drill_id=model.name, at=at_ms, model=model.name, passed=True)


def _health(client: Client, model: Watched) -> None:
    """A record a minute in the last two hours; the model is degraded in the last but one."""
    records = []
    for minute in range(120):
        at_ms = (END_S - 7200 + 60 * minute) * 1000
        reasons = {"rules": ["errors"], "fields": [""], "texts": [f"errors {minute}"]} if minute < 60 else {}
        state = "degraded" if minute < 60 else "healthy"
        times = {"at": at_ms, "since": at_ms, "evaluated_at": at_ms, "sequence": minute}
        records.append({"state": state, **reasons, **times})
    add_rows(client, "model_health", records, model=model.name)


def _causes(client: Client, model: Watched) -> None:
    """A reported change, and the verdict that became major after it."""
    change = {"kind": "deploy", "subject": "job", "before": "", "after": "abc", "source": "fleet", "owner": "ana"}
    at_ms = MOVED_S * 1000
    of_any_model = {**change, "kind": "upgrade"}
    add_rows(client, "changes", [{**change, "model": model.name}, of_any_model], changed_at=at_ms, reason="faster")
    times = {"onset": MOVED_S, "onset_low": MOVED_S - 60, "onset_high": MOVED_S + 60, "changed_at": at_ms}
    verdict = {"field": "x", "signal": "psi", "window": "6h", "window_end": MOVED_S + HOUR_S, "version": "2"}
    evidence = {"relation": "own source", "timing": "at onset", "likelihood": "likely", "text": "Likely cause: job."}
    # The second is the row of a rank without a change, which is not shown.
    causes: list[dict[str, Any]] = [{**times, **change, **evidence, "rank": 1}, {"rank": 2}]
    add_rows(client, "suspected_causes", causes, model=model.name, **verdict)


def _prompts(client: Client, model: Watched) -> None:
    arms = {"model": model.name, "control": "answer@7", "arm": "answer@8", "criterion": "errors", "unit": "share"}
    counts = {"control_events": 900, "arm_events": 100, "control_units": 90, "arm_units": 10, "control_value": 0.01}
    ends = {"value": 0.05, "low": 0.02, "high": 0.08, "margin": 0.01, "outcome": "harm", "compared_at": END_S * 1000}
    looks = [{"at": END_S - hours * HOUR_S} for hours in (2, 1)]
    add_rows(client, "arm_comparisons", looks, **arms, **counts, **ends)
    change = {"kind": "prompt-rollback", "subject": "answer:production", "before": "8", "after": "7"}
    at_ms = (END_S - HOUR_S) * 1000
    add_rows(client, "changes", [change], changed_at=at_ms, reason="errors", changed_by="guard")


def _shadow(client: Client, model: Watched) -> None:
    """A candidate with pairs in every hour, and looks at two days whose intervals are known."""
    versions = {"model": model.name, "candidate": "3", "of": "2", "basis": "basis"}
    counts: dict[str, Any] = {"requests": 110, "pairs": 100, "compared": 100, "agreed": 90, "labelled": 80}
    counts |= {"both_right": 60, "primary_right": 5, "candidate_right": 8, "records": 300, "timed": 100}
    counts |= {"score_pairs": 100, "score_difference": 1.5, "log_latency": 10.0}
    counts |= {"missing": {"timeout": 7, "skipped-queue": 3}, "class_pairs": {"no → yes": 10, "yes → yes": 90}}
    counts |= {"latencies_primary": {32: 60, 40: 40}, "latencies_candidate": {33: 100}}
    hours = [
        {"slice": name, "window_start": START_S + hour * HOUR_S} for hour in range(HOURS) for name in ("all", "arm=a")
    ]
    add_rows(client, "shadow_pairs", hours, **versions, **counts, window_s=HOUR_S)
    outcome = "hold" if model.kind == "classes" else "insufficient"
    plan = {"outcome": outcome, "days": 40, "least_days": 59, "days_left": 19.0, "judged_at": END_S * 1000}
    ends = {"value": -0.01, "low": -0.03, "high": 0.01, "least_low": -0.03, "margin": 0.02}
    looks: list[dict[str, Any]] = [
        {"slice": "all", "criterion": "decision", "state": "worse", "evidence": 1.5},
        {"slice": "all", "criterion": "accuracy", "state": "open", "evidence": math.nan},
        {"slice": "all", "criterion": "missing", "state": "met", "evidence": math.nan},
        {"slice": "arm=a", "criterion": "accuracy", "state": "worse", "evidence": 4.0},
    ]
    for day_end_s in (END_S - DAY_S, END_S - HOUR_S):
        day = datetime.fromtimestamp(day_end_s - 1, UTC).date()
        of_day = {"day": day, "day_end": day_end_s, "inputs": str(day)}
        add_rows(client, "shadow_verdicts", looks, **versions, **plan, **ends, **of_day)


def _details(kind: str, age_s: int) -> dict[str, float]:
    """Return a value of every metric of a processor; counters grow by one each second."""
    details = {}
    for metric in OF_PROCESSORS:
        is_column = metric.column and not metric.reported_labels
        if kind not in metric.processors or is_column or metric.kind == "histogram":
            continue
        value = float(age_s) if metric.kind == "counter" else 4.0
        details[metric.key(*(label.values[0] for label in metric.reported_labels))] = value
    return details


def fill_pipeline(client: Client, model: str, end_s: int = END_S, length_s: int = 1200, every_s: int = 10) -> None:
    """Write reports of processors before a time, and dead letters, gaps and duplicates of the last hours."""
    start_s = end_s - HOURS * HOUR_S
    steps = {"sketcher": "flush_seconds", "scorer": "pass_seconds", "monitor": "write_seconds"}
    of_all: dict[str, Any] = {"host": "", "pid": 0, "started_at": start_s * 1000, "dead_letters": 0}
    of_all |= {"lag": 5, "rate": 1.5}
    reports = [
        ProcessorReport(
            kind=kind,
            instance=f"{kind}-1",
            at=at_s * 1000,
            events=at_s - start_s,
            retries=(at_s - start_s) // 600,
            last_commit_at=(at_s - 7) * 1000,
            details={step: 0.25, "spans_total nested": at_s - start_s, **_details(kind, at_s - start_s)},
            **of_all,
        )
        for kind, step in steps.items()
        # The monitor is silent at the end.
        for at_s in range(end_s - length_s, end_s - (120 if kind == "monitor" else 0) + 1, every_s)
    ]
    insert_reports(client, reports)
    dead = {"topic": "predictions", "reason": "malformed", "hour": end_s - 2 * HOUR_S, "record_seq": 1}
    add_rows(client, "dead_letter_counts", [{"model": "", "n": 2}, {"model": model, "n": 3}], **dead)
    lost_ms = (end_s - DAY_S) * 1000
    offsets = {"start_offset": 10, "end_offset": 30, "from_time": lost_ms, "to_time": lost_ms + 1}
    add_rows(client, "losses", [offsets], reason="retention", recorded_at=end_s * 1000, record_seq=1)
    numbers = {"n": 8, "first_seq": 0, "last_seq": 9, "pane_start": end_s - HOUR_S, "pane_s": HOUR_S, "record_seq": 1}
    add_rows(client, "producers", [numbers], model=model, producer="p")
    at_ms = (end_s - HOUR_S + 60) * 1000
    ids = [{"id": f"e{i % 4}", "offset": i} for i in range(5)]
    add_rows(client, "predictions", ids, model=model, version="1", at=at_ms, received_at=at_ms)


RANGE = TimeRange.between(END - timedelta(hours=47), END)
QUERIES = named_queries()


def ask(
    client: Client, name: str, *, time_range: TimeRange = RANGE, interval_s: int = HOUR_S, **chosen: Value
) -> list[tuple[Any, ...]]:
    variables: dict[str, Value] = {"version": "1", "slice": "all", "window": "1d", **chosen}
    return client.rows(expand(QUERIES[name].sql, time_range, variables, interval_ms=interval_s * 1000))
