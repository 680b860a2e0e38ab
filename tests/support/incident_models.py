"""Twelve models over 150 days as the processors would have written them, each kind of incident in one of them.

Hourly counts are drawn around known shares, verdicts follow from their sums. Incidents begin two days before `END_S`,
and then all models are silent for two days, until `NOW_S`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from barograph import contract as contracts
from barograph.contract import Contract
from barograph.contract.file import dump_contract
from numpy.typing import NDArray

from barograph_server.alerts.guard.suspected_causes import explain_verdicts, store_causes
from barograph_server.sketches.baseline.baseline import Baseline, SliceValues, dump_baseline
from barograph_server.sketches.rollout.looks import decide_at, look_days
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.governance.lineage import store_lineage
from barograph_server.warehouse.rollouts.days import shadow_days
from barograph_server.warehouse.rollouts.verdicts import look_rows, write_looks
from barograph_server.warehouse.scoring.rules import ShadowVersions
from barograph_server.warehouse.tables import SCHEMAS, insert_rows, ragged, table_of
from tests.support.outputs import class_field, numeric_field
from tests.support.two_day_model import fill_pipeline
from tests.support.warehouse import add_row, row

HOUR_S, DAY_S = 3600, 86_400
DAYS, SILENT_DAYS = 150, 2
NOW_S = int(datetime.now(UTC).timestamp()) // DAY_S * DAY_S
END_S = NOW_S - SILENT_DAYS * DAY_S
"""The end of the last pane with traffic."""
START_S = END_S - DAYS * DAY_S
HOURS = DAYS * 24
MOVED = HOURS - 2 * 24
"""The hour in which the incidents begin."""
LABELS_END = HOURS - 2 * 24
"""The hour in which labels of one model stop."""
JUDGED_AFTER_S = 1200
VERSION = "1"
COUNTRIES = ("DE", "FR", "US")
CATEGORIES = {"country": COUNTRIES, "device": ("phone", "desktop", "tablet"), "class": ("no", "yes")}
NUMBERS = ("amount", "age", "score", "latency_ms")
WINDOWS = {"1d": (24, 3), "7d": (7 * 24, 24)}
"""Name → length and hop in hours."""
Array = NDArray[Any]


@dataclass(frozen=True)
class PlantedIncident:
    rule: str
    model: str
    key: str
    """The alert's instance: a field, or empty for rules about the model."""
    page: str
    panel: str
    at_s: int = END_S + 1800
    """When the alert's link is opened: the last windows were judged ten minutes before."""


SHORT_DRIFT, COST, PROMPT = "demand-forecast", "support-triage", "spam"
"""Models of which a field drifts in the shorter windows only, that spend too much, and with a harmful prompt."""
INCIDENTS = (
    PlantedIncident("psi-major", "payment-fraud", "amount", "field", "psi"),
    PlantedIncident("null-rate", "loan-default", "age", "field", "nulls"),
    PlantedIncident("unseen-rate", "card-fraud", "device", "field", "range"),
    PlantedIncident("latency", "search-ranking", "", "model", "latency"),
    PlantedIncident("errors", "ad-clicks", "", "model", "errors"),
    PlantedIncident("silence", "churn", "", "model", "requests", NOW_S - 1800),
    PlantedIncident("performance", "credit-limit", "", "model", "performance"),
    PlantedIncident("label-stop", "returns", "", "model", "label_coverage"),
    # The cost of an hour is known at its end.
    PlantedIncident("cost-budget", COST, "day", "llm", "cost_day", END_S + 2 * HOUR_S),
    PlantedIncident("prompt-harm", PROMPT, "answer@8: refusals", "llm", "prompt_comparisons"),
)
HEALTHY = "recommendations-for-signed-in-visitors-of-the-mobile-app-in-europe"
SILENT_HOURS = 6
"""How long before the others one model falls silent."""
ONE_MODEL = (INCIDENTS[0].model,)
TWELVE_MODELS = (*(incident.model for incident in INCIDENTS), SHORT_DRIFT, HEALTHY)


def contract_of(model: str) -> Contract:
    """The contract of each model; hourly panes, windows of a day and a week, a slice per country."""
    return Contract(
        model=model,
        team="risk",
        pane_s=HOUR_S,
        lateness_s=600,
        out_of_order_s=600,
        windows=tuple(contracts.Window(length * HOUR_S, hop * HOUR_S) for length, hop in WINDOWS.values()),
        fields=(
            contracts.Field(name="amount", type="float", source="features.amount", critical=True),
            contracts.Field(name="age", type="float", source="features.age", critical=True),
            contracts.Field(name="country", type="category", source="features.country"),
            contracts.Field(name="device", type="category", source="features.device", critical=True),
            contracts.Field(name="score", type="float", source="score"),
            contracts.Field(name="class", type="category", source="class"),
            contracts.Field(name="latency_ms", type="float", source="latency_ms", sketch="req"),
        ),
        declared_sources={
            "customers": contracts.DeclaredSource(owner="crm", system="crm-database", fields=("age", "country")),
            "orders": contracts.DeclaredSource(owner="shop", system="order-stream", fields=("amount",)),
        },
        consumers={
            "checkout": contracts.DeclaredConsumer(owner="shop", group="checkout", fields=("score", "class")),
            "reporting": contracts.DeclaredConsumer(owner="finance", user="reporting"),
        },
        slices=(contracts.Slice(name="country", source="features.country", values=COUNTRIES),),
        label=contracts.LabelSpec(type="bool", positive=True),
        budget=contracts.Budget(day=10.0 if model == COST else None),
        arms=contracts.Arms(shares={"answer@7": 0.5, "answer@8": 0.5}) if model == PROMPT else None,
        rollback=contracts.Rollback(prompt="answer", margins={"refusals": 0.02}) if model == PROMPT else None,
        slo=contracts.Slo(latency_ms=250.0, latency_share=0.98, error_rate=0.01, performance={"auc": 0.7}),
    )


def baseline_of(model: str, rng: np.random.Generator) -> Baseline:
    rows = 40_000
    drawn = {
        "amount": rng.lognormal(3, 0.5, rows),
        "age": rng.normal(45, 12, rows),
        "score": rng.beta(2, 5, rows),
        "latency_ms": rng.gamma(4, 15, rows),
    }
    shares = {"country": (0.5, 0.3, 0.2), "device": (0.6, 0.3, 0.1), "class": (0.8, 0.2)}
    fields = [numeric_field(name, values) for name, values in drawn.items()]
    fields += [
        class_field(name, CATEGORIES[name], rng.choice(len(share), rows, p=share)) for name, share in shares.items()
    ]
    slices = ["all", *(f"country={country}" for country in COUNTRIES)]
    return Baseline(
        model=model,
        version=VERSION,
        rows=rows,
        slice_rows=dict.fromkeys(slices, rows),
        dimensions=(SliceValues(name="country", source="features.country", values=COUNTRIES, trained=True),),
        # Countries do not differ.
        fields=tuple(msgspec.structs.replace(f, slices=dict.fromkeys(slices, f.slices["all"])) for f in fields),
    )


class _Tables:
    """Rows of many models by table; each table is inserted once, because an insert takes longer than its rows."""

    def __init__(self) -> None:
        self._blocks: dict[str, list[pa.Table]] = {}

    def add(self, table: str, rows: int, /, **values: Any) -> None:
        """Add rows; a value that is not an array or a list is that of all rows, and missing columns are empty."""
        columns = {
            name: value if isinstance(value, np.ndarray | list | pa.Array) and len(value) else _repeated(value, rows)
            for name, value in row(table, **values).items()
        }
        self._blocks.setdefault(table, []).append(table_of(table, columns).cast(SCHEMAS[table]))

    def insert(self, client: Client) -> None:
        for table, blocks in self._blocks.items():
            client.insert(table, pa.concat_tables(blocks))


def _repeated(value: Any, rows: int) -> Any:
    if isinstance(value, str):
        return pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), [value])
    return [value] * rows if isinstance(value, bytes | list) else np.full(rows, value)


def fill(client: Client, models: Sequence[str]) -> None:
    tables = _Tables()
    for number, model in enumerate(models):
        rng = np.random.default_rng(TWELVE_MODELS.index(model))
        baseline = baseline_of(model, rng)
        _catalogue(tables, model, baseline)
        known = {"model": model, "version": VERSION, "baseline_id": baseline.id}
        daily = 1 + 0.5 * np.sin(2 * np.pi * (np.arange(HOURS) % 24 - 9) / 24)
        n = rng.poisson(300 * (1 + number % 4) * daily)
        if _is(model, "silence"):
            n[-SILENT_HOURS:] = 0
        _traffic(tables, model, known, n)
        _fields(tables, model, known, baseline, n, rng)
        _labels(tables, model, n, rng)
        if model == COST:
            _costs(tables, model)
        if model == PROMPT:
            _prompt(tables, model)
    tables.insert(client)
    store_lineage(client, [contract_of(model) for model in models], START_S * 1000)
    start, end = (datetime.fromtimestamp(at_s, UTC) for at_s in (END_S - 7 * DAY_S, END_S))
    for model in models:
        store_causes(client, explain_verdicts(client, contract_of(model), start, end), end)
    _shadow(client, models[0])
    _drills(client, models[0])
    _health(client, models[0])
    fill_pipeline(client, models[0], END_S, DAY_S, 60)


def _catalogue(tables: _Tables, model: str, baseline: Baseline) -> None:
    contract, applied_ms = contract_of(model), START_S * 1000
    known = {"model": model, "version": VERSION, "baseline_id": baseline.id}
    tables.add(
        "contracts", 1, model=model, contract_id=contract.id, yaml=dump_contract(contract), applied_at=applied_ms
    )
    accepted = known | {"body": dump_baseline(baseline).decode(), "accepted_at": applied_ms}
    tables.add("baselines", 1, **accepted)
    # The annotation of a new baseline, with the same content.
    tables.add("baselines", 1, **accepted | {"effective_from": END_S - 20 * DAY_S, "reason": "autumn"})
    times = dict.fromkeys(("watermark", "sealed_until", "updated_at"), NOW_S * 1000)
    tables.add("progress", 1, model=model, **times, record_seq=1)


def _shadow(client: Client, model: str) -> None:
    """A candidate beside the primary on all days: slightly better, slower, and worse in one country since day 90."""
    rng = np.random.default_rng(21)
    tables = _Tables()
    hours = np.arange(HOURS)
    day, daily = hours // 24, 1 + 0.5 * np.sin(2 * np.pi * (hours % 24 - 9) / 24)
    of_day = rng.normal(0, 0.01, (len(COUNTRIES), DAYS))
    total: dict[str, Array] = {}
    for number, country in enumerate(COUNTRIES):
        pairs = rng.poisson(150 * daily)
        loss = np.where((day >= 90) & (country == "US"), 0.05, -0.01) + of_day[number][day]
        candidate_right, primary_right = rng.binomial(pairs, 0.06 - loss / 2), rng.binomial(pairs, 0.06 + loss / 2)
        lost = {
            "timeout": rng.poisson(np.where(day == 70, 20.0, 1.0)),
            "error": rng.binomial(2, 0.2, HOURS),
            "skipped-queue": np.where((day == 70) & (hours % 24 > 8), rng.poisson(15, HOURS), 0),
        }
        own = {
            "pairs": pairs, "requests": pairs + sum(lost.values()), "compared": pairs, "labelled": pairs,
            "timed": pairs,
            "agreed": pairs - candidate_right - primary_right, "both_right": pairs * 7 // 10,
            "candidate_right": candidate_right, "primary_right": primary_right, "score_pairs": pairs, "scored": pairs,
            "score_difference": rng.normal(0.01, 0.01, HOURS) * pairs, "brier_primary": 0.11 * pairs,
            "brier_candidate": (0.108 + loss / 5) * pairs, "log_latency": rng.normal(0.06, 0.05, HOURS) * pairs,
            **lost,
        }  # fmt: skip
        _pairs(tables, model, f"country={country}", own)
        total = {name: total.get(name, 0) + values for name, values in own.items()}
    _pairs(tables, model, "all", total)
    tables.insert(client)
    contract = contract_of(model)
    margins = {"accuracy": 0.01, "brier": 0.005, "latency": 0.1, "missing": 0.02}
    shadow = contracts.ShadowTest(candidate="2", of=VERSION, margins=margins, worst_day=0.2)
    versions = ShadowVersions("2", VERSION)
    slices = shadow_days(client, model, "2", VERSION, "basis", "", contract.timezone)
    rows = []
    for day_seen in look_days(shadow, "basis", slices):
        decided = decide_at(shadow, slices, day_seen.day)
        rows += look_rows(model, versions, "basis", contract.timezone, day_seen, decided, END_S * 1000)
    write_looks(client, rows)


def _drills(client: Client, model: str) -> None:
    passed = {"passed": True, "expected": ["no other page"], "observed": ["none"], "met": [True]}
    drills: tuple[dict[str, Any], ...] = (
        {
            "fault": "mean-shift", "field": "amount", "page_after_s": 40_000.0, "predicted_low_s": 33_000.0,
            "predicted_high_s": 45_000.0, "degraded_after_s": 40_060.0, **passed,
        },
        {
            "fault": "null-rise", "field": "device", "passed": False, "met": [True, False],
            "expected": ["no other page", "page null-rate device to risk-oncall"], "observed": ["none", "no alert"],
        },
        {"fault": "silence", "page_after_s": 7200.0, "degraded_after_s": 7260.0, **passed},
    )  # fmt: skip
    for number, drill in enumerate(drills):
        start_s = END_S - (6 - number) * DAY_S
        period = {"fault_start": start_s * 1000, "fault_end": (start_s + DAY_S) * 1000, "at": (NOW_S - number) * 1000}
        ran = {"drill_id": f"drill-{number}", "model": model, "version": VERSION, "mode": "fast"}
        add_row(client, "drills", **ran, **period, **drill)


def _costs(tables: _Tables, model: str) -> None:
    """A budget, and calls of half an hour that spend more."""
    tables.add("cost_settings", 1, model=model, budget_day=10.0, budget_month=np.nan, applied_at=START_S * 1000)
    calls, at_ms = np.arange(30), (END_S + 60 * np.arange(30)) * 1000
    metrics = [{"cost_usd": 0.5, "input_tokens": 900.0, "output_tokens": 80.0}] * len(calls)
    tables.add(
        "predictions", len(calls), model=model, version=VERSION, id=[f"{call}" for call in calls], at=at_ms,
        received_at=at_ms, offset=calls, metrics=metrics,
    )  # fmt: skip


def _prompt(tables: _Tables, model: str) -> None:
    """An arm that is worse than the control by more than its margin since four hours."""
    low = np.array([-0.03, -0.01, 0.01, 0.03, 0.04, 0.05, 0.05])
    looks = END_S - HOUR_S * np.arange(len(low))[::-1]
    tables.add(
        "arm_comparisons", len(low), model=model, control="answer@7", arm="answer@8", criterion="refusals", at=looks,
        value=low + 0.03, low=low, high=low + 0.06, margin=0.02, unit="share", outcome="harm",
        compared_at=looks * 1000, control_events=900, arm_events=900, control_units=900, arm_units=900,
    )  # fmt: skip


def _health(client: Client, model: str) -> None:
    states = {15: "degraded", 16: "degraded", 17: "degraded", 30: "unknown"}
    reasons = {
        "healthy": ([], [], []),
        "degraded": (["psi-major"], ["amount"], ["PSI of amount is 0.31 [0.29, 0.33]; the threshold is 0.2."]),
        "unknown": (["blind"], [""], ["No monitor has reported for 5 minutes."]),
    }
    rows = []
    for minute in (each for each in range(48 * 60) if each // 60 not in (40, 41)):
        at_ms = (END_S - 2 * DAY_S + 60 * minute) * 1000
        state = states.get(minute // 60, "healthy")
        rules, fields, texts = reasons[state]
        times = {"at": at_ms, "since": at_ms, "evaluated_at": at_ms, "sequence": minute, "guard": "guard-1"}
        rows.append(row("model_health", model=model, state=state, rules=rules, fields=fields, texts=texts, **times))
    insert_rows(client, "model_health", rows)


def _pairs(tables: _Tables, model: str, name: str, counts: dict[str, Array]) -> None:
    reasons = ("timeout", "error", "skipped-queue")
    missing = [
        dict(zip(reasons, values, strict=True))
        for values in zip(*(counts[reason].tolist() for reason in reasons), strict=True)
    ]
    latencies = {
        f"latencies_{side}": [dict.fromkeys(range(first, first + 8), n // 8 + 1) for n in counts["timed"]]
        for side, first in (("primary", 40), ("candidate", 41))
    }
    classes = [
        {"yes → yes": agreed // 5, "no → no": agreed - agreed // 5, "yes → no": n - agreed}
        for n, agreed in zip(counts["compared"].tolist(), counts["agreed"].tolist(), strict=True)
    ]
    tables.add(
        "shadow_pairs", HOURS, **latencies, class_pairs=classes, model=model, candidate="2", of=VERSION, basis="basis",
        slice=name, missing=missing, window_start=START_S + np.arange(HOURS) * HOUR_S, window_s=HOUR_S, records=1,
        counted_at=END_S * 1000,
        **dict.fromkeys(("loss_primary", "loss_candidate", "error_primary", "error_candidate"), 0.0),
        **{name: values for name, values in counts.items() if name not in reasons},
    )  # fmt: skip


def _is(model: str, rule: str) -> bool:
    return any(incident.model == model and incident.rule == rule for incident in INCIDENTS)


def _traffic(tables: _Tables, model: str, known: dict[str, Any], n: Array) -> None:
    """Hourly panes with a constant share of slow and failed predictions, which changes in two models; then silence."""
    hours = np.arange(HOURS + SILENT_DAYS * 24)
    n = np.concatenate((n, np.zeros(SILENT_DAYS * 24, np.int64)))
    slow, failed = (
        np.round(n * np.where(_is(model, rule) & (hours >= MOVED), during, before)).astype(np.int64)
        for rule, before, during in (("latency", 0.01, 0.08), ("errors", 0.003, 0.05))
    )
    pane = {"pane_start": START_S + hours * HOUR_S, "pane_s": HOUR_S, "slice": "all", "record_seq": 1}
    counted = {"n": n, "timed": n, "slow": slow, "errors": failed, "sealed": True}
    tables.add("volume", len(hours), **known, **pane, **counted)
    kinds = (("Timeout", failed - failed // 4), ("OutOfMemory", failed // 4))
    for kind, of_kind in kinds:
        tables.add("errors", len(hours), **known, **pane, kind=kind, n=of_kind)


def _fields(
    tables: _Tables, model: str, known: dict[str, Any], baseline: Baseline, n: Array, rng: np.random.Generator
) -> None:
    hours = np.arange(HOURS)
    for field in baseline.fields:
        cells = np.array(field.slices["all"].cells, np.float64)
        shares = np.repeat((cells / cells.sum())[None], HOURS, axis=0)
        moved = hours >= MOVED
        if _is(model, "psi-major") and field.name == "amount":
            shares[moved, :-1] = shares[moved, -2::-1] * np.linspace(0.1, 1.9, len(cells) - 1) ** 3
        if model == SHORT_DRIFT and field.name == "age":
            shares[-16:, :-1] = shares[-16:, -2::-1] * np.linspace(0.1, 1.9, len(cells) - 1) ** 3
        if _is(model, "null-rate") and field.name == "age":
            shares[moved] = 0.7 * shares[moved] + 0.3 * (np.arange(len(cells)) == len(cells) - 1)
        if _is(model, "unseen-rate") and field.name == "device":
            shares[moved] = 0.8 * shares[moved] + 0.2 * (np.arange(len(cells)) == len(cells) - 2)
            tables.add(
                "new_categories", HOURS - MOVED, **known, field="device", category="watch",
                pane_start=START_S + hours[moved] * HOUR_S, pane_s=HOUR_S, n_low=n[moved] // 5, n_high=n[moved] // 5,
                record_seq=1,
            )  # fmt: skip
        counts = rng.multinomial(n, shares / shares.sum(axis=1, keepdims=True))
        width = len(cells)
        tables.add(
            "panes", HOURS, **known, slice="all", field=field.name, pane_start=START_S + hours * HOUR_S,
            pane_s=HOUR_S, n=n, nulls=counts[:, -1], counts=ragged(counts.ravel(), np.arange(HOURS + 1) * width),
            sealed=True, record_seq=1,
        )  # fmt: skip
        for window, (length, hop) in WINDOWS.items():
            _verdicts(tables, known | {"field": field.name, "window": window}, field.kind, cells, counts, length, hop)
            if field.kind == "numeric":
                is_moved = _is(model, "psi-major") and field.name == "amount"
                _distances(tables, known | {"field": field.name, "window": window}, length, hop, field.mean, is_moved)
    for window, (length, hop) in WINDOWS.items():
        ends = np.arange(hop, HOURS + 1, hop)
        tables.add(
            "rates", len(ends), **known, **_judged(ends, length), slice="all", field="events", kind="error",
            window=window, n=1000, k=3, rate=0.003, baseline_rate=0.003, delta=0.0, delta_low=-0.001, delta_high=0.001,
            level="stable",
        )  # fmt: skip


def _judged(ends: Array, length: int) -> dict[str, Any]:
    end_s = START_S + ends * HOUR_S
    return {
        "window_start": end_s - length * HOUR_S, "window_end": end_s, "judged_at": (end_s + JUDGED_AFTER_S) * 1000,
        "completeness": 1.0, "record_seq": ends,
    }  # fmt: skip


def _verdicts(
    tables: _Tables, known: dict[str, Any], kind: str, cells: Array, counts: Array, length: int, hop: int
) -> None:
    """PSI and rates of windows by definition, from the sums of their panes."""
    ends = np.arange(hop, HOURS + 1, hop)
    total = np.concatenate((np.zeros((1, len(cells)), np.int64), counts.cumsum(axis=0)))
    sums = total[ends] - total[np.maximum(ends - length, 0)]
    n = sums.sum(axis=1)
    expected = (cells + 0.5) / (cells.sum() + len(cells) / 2)
    actual = (sums + 0.5) / (n + len(cells) / 2)[:, None]
    terms = (actual - expected) * np.log(actual / expected)
    psi, top = terms.sum(axis=1), terms.argmax(axis=1)
    error = 1.96 * np.sqrt(psi / n)
    verdict = {
        "n": n, "psi": psi, "psi_low": psi - error, "psi_high": psi + error, "q_value": np.where(psi > 0.1, 1e-6, 0.5),
        "level": np.select([psi > 0.2, psi > 0.1], ["major", "minor"], "stable").tolist(), "threshold_minor": 0.1,
        "threshold_major": 0.2, "season": "none", "top_bin": [f"cell {i}" for i in top.tolist()],
        "top_bin_index": top, "expected_share": expected[top], "actual_share": actual[np.arange(len(top)), top],
    }  # fmt: skip
    judged = _judged(ends, length)
    for slice_name in ("all", *(f"country={country}" for country in COUNTRIES)):
        tables.add("drift", len(ends), **known, **judged, **verdict, slice=slice_name)
    kinds = {"null": -1, "unseen": -2} if kind == "category" else {"null": -1, "below": None, "above": None}
    for name, cell in kinds.items():
        k = np.zeros(len(ends), np.int64) if cell is None else sums[:, cell]
        base = 0.0 if cell is None else float(cells[cell] / cells.sum())
        rate = k / n
        error = 1.96 * np.sqrt(rate * (1 - rate) / n) + 1e-4
        delta = rate - base
        levels = np.select([delta - error > 0.05, delta - error > 0.01], ["major", "minor"], "stable").tolist()
        tables.add(
            "rates", len(ends), **known, **judged, slice="all", kind=name, n=n, k=k, rate=rate,
            baseline_rate=base, delta=delta, delta_low=delta - error, delta_high=delta + error, level=levels,
            p_value=np.where(delta - error > 0.05, 1e-9, 0.5), threshold_minor=0.01, threshold_major=0.05,
        )  # fmt: skip


def _distances(tables: _Tables, known: dict[str, Any], length: int, hop: int, mean: float, is_moved: bool) -> None:
    ends = np.arange(length // 4, HOURS + 1, max(hop, length // 4))
    share = np.clip((ends - MOVED) / length, 0, 1) if is_moved else np.zeros(len(ends))
    center = mean * (1 + 0.4 * share)
    ranks = {"p05": 0.4, "p25": 0.7, "p50": 0.95, "p75": 1.2, "p95": 1.7, "p99": 2.1}
    tables.add("distances", len(ends), **known, **_judged(ends, length), **{k: center * f for k, f in ranks.items()},
        slice="all", n=9000, ks=0.02 + 0.3 * share, ks_threshold=0.03, w1=0.05 + share, mean=center,
        mean_shift=share, std_ratio=1 + 0.2 * share,
    )  # fmt: skip


def _labels(tables: _Tables, model: str, n: Array, rng: np.random.Generator) -> None:
    """A label an hour, the counts of four fifths of the predictions, and the performance of each day."""
    hours = np.arange(HOURS)
    labelled_hours = hours[: LABELS_END if _is(model, "label-stop") else HOURS]
    at_ms = (START_S + labelled_hours * HOUR_S + 1800) * 1000
    tables.add("labels", len(labelled_hours), model=model, id=[f"{hour}" for hour in labelled_hours], label="true",
        label_type="bool", at=at_ms, received_at=at_ms, offset=labelled_hours,
    )  # fmt: skip
    scored = {"state": "scored", "basis": "basis", "kind": "binary", "raw_share": 1.0, "updated_at": END_S * 1000}
    tables.add("scorer_models", 1, model=model, **scored)
    curve = {"ages_s": [[3600.0, 21_600.0, 43_200.0, 86_400.0]], "shares": [[0.3, 0.7, 0.9, 1.0]], "basis": "basis"}
    bounds = {"shares_low": [[0.2, 0.6, 0.8, 0.9]], "shares_high": [[0.4, 0.8, 1.0, 1.0]], "coverage": 0.8}
    learned = {"mature_age_s": 86_400.0, "learned_at": END_S * 1000}
    tables.add("maturity", 1, model=model, **curve, **bounds, **learned)
    labelled = np.where(hours < len(labelled_hours), n * 4 // 5, 0)
    scores = np.arange(0.05, 1, 0.1)
    weights = scores[::-1] / scores.sum()
    per_bin = np.floor(labelled[:, None] * weights).astype(np.int64)
    tables.add("performance_state", HOURS, model=model, version=VERSION, basis="basis", slice="all",
        window_start=START_S + hours * HOUR_S, window_s=HOUR_S, predictions=n, labelled=labelled, records=n,
        bins=[list(range(10))] * HOURS, bin_labelled=per_bin.tolist(),
        bin_labelled_scores=(per_bin * scores).tolist(), bin_positives=np.floor(per_bin * scores).astype(int).tolist(),
    )  # fmt: skip
    ends = np.arange(24, HOURS + 1, 24)
    is_mature = ends <= len(labelled_hours) - 24
    auc = np.where(_is(model, "performance") & (ends > MOVED), 0.62, 0.78) + rng.normal(0, 0.004, len(ends))
    for metric, value in (("auc", auc), ("accuracy", auc + 0.06)):
        promise = 0.7 if metric == "auc" else np.nan
        is_low = (metric == "auc") & (value < 0.7)
        end_s = START_S + ends * HOUR_S
        tables.add(
            "performance", len(ends), model=model, version=VERSION, slice="all", metric=metric, window="1d",
            window_start=end_s - DAY_S, window_end=end_s, value=value, low=value - 0.02, high=value + 0.02,
            n=n.reshape(-1, 24).sum(axis=1) * 4 // 5, predictions=n.reshape(-1, 24).sum(axis=1), coverage=0.8,
            maturity=np.where(is_mature, 1.0, 0.8), mature=is_mature.tolist(), sufficient=True,
            level=np.where(is_low, "major", "stable").tolist(), promise=promise, reference=0.78, cbpe=0.775,
            cbpe_low=0.765, cbpe_high=0.785, raw_share=1.0, revision=1, difference=value - 0.78,
            difference_low=value - 0.8, difference_high=value - 0.76, revised_at=(end_s + DAY_S // 2) * 1000,
        )  # fmt: skip
