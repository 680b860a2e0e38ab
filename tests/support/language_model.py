"""A day of a language model by hand, with evaluations of the last whole day before `END` of `two_day_model`."""

import random
from datetime import timedelta
from itertools import count
from typing import Any

import msgspec
from barograph import parse_contract

from barograph_server.sketches.baseline.baseline import SliceCounts, dump_baseline
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.operations.serving_facts import (
    ServingFact,
    insert_serving_facts,
    store_serving_sections,
)
from barograph_server.warehouse.tables import insert_rows
from tests.support import baselines
from tests.support.two_day_model import DAY_S, END, END_S, HOUR_S
from tests.support.warehouse import add_row, insert, row

SECRET = "jane@example.org"
"""Stands in every text of the model; no panel may show it."""

EVALUATED = 400
"""Number of answers that the evaluator `faithful` judged."""
EVALUATION_END = END.replace(hour=0)
EVALUATION_BEGIN = EVALUATION_END - timedelta(days=1)
EVALUATION_BEGIN_MS, EVALUATION_END_MS = (int(at.timestamp()) * 1000 for at in (EVALUATION_BEGIN, EVALUATION_END))
FAITHFUL, CITED, QUOTED = 12 * "a", 12 * "c", 12 * "h"
"""Versions of evaluators."""
SECOND_FAITHFUL = 12 * "b"
"""Version that calls every answer sound."""

SERVED_AT_MS = (END_S - HOUR_S * 3 // 2) * 1000
CONTRACT = """contract: 1
model: answers
budget: {day: 100}
user: context.user
trace_url: https://tempo.example/trace/{trace_id}
"""
_offsets = count()


def fill_serving(client: Client, model: str) -> None:
    """Write facts of two servers, three calls with and without a cost, and windows of their tokens and times."""
    contract = msgspec.structs.replace(parse_contract(CONTRACT), model=model)
    store_serving_sections(client, [contract], (END_S - 4 * DAY_S) * 1000)
    add_row(client, "contracts", model=model, contract_id="c", yaml=CONTRACT, applied_at=END)
    at = SERVED_AT_MS
    one, other = (model, "host:1"), (model, "host:2")
    facts = [
        ServingFact(*one, "running_requests", "", at, "vllm", "gauge", "requests", 3),
        ServingFact(*other, "running_requests", "", at, "vllm", "gauge", "requests", 4),
        ServingFact(*one, "kv_cache_use", "", at, "vllm", "gauge", "share", 0.4),
        ServingFact(*one, "prefix_cache_hits", "", at, "vllm", "ratio", "share", 0.5, 100, 50, 15),
        ServingFact(*one, "prefix_cache_hits", "", at + 1, "vllm", "ratio", "share", 1, 300, 300, 15),
        ServingFact(*one, "up", "", at, "vllm", "gauge", "", 1),
        ServingFact(*other, "up", "", at, "vllm", "gauge", "", 1),
        ServingFact(*other, "up", "", at + 1, "", "gauge", "", 0),
    ]
    insert_serving_facts(client, facts)
    calls: list[tuple[str, dict[str, float], dict[str, str]]] = [
        ("v1", {"cost_usd": 1.0}, {"prompt": "a@1", "user": "ann"}),
        ("v1", {"cost_usd": 3.0}, {"prompt": "a@2", "user": "bob"}),
        ("v2", {}, {"user": "ann"}),
    ]
    rows = [
        _prediction(model, version, f"{i:032x}-{i:016x}", at, context=context, metrics=_TOKENS | cost)
        for i, (version, cost, context) in enumerate(calls)
    ]
    insert_rows(client, "predictions", rows)
    known = {"model": model, "version": "v1", "slice": "all"}
    window = {"window": "1h", "window_start": END_S - 2 * HOUR_S, "window_end": END_S - HOUR_S, "n": 120}
    windows = {"ttft_ms": (40.0, 90.0), "time_per_output_token_ms": (5.0, 9.0), "output_tokens": (30.0, 60.0)}
    rows = [
        row("distances", **known, **window, field=name, mean=mean, p95=p95) for name, (mean, p95) in windows.items()
    ]
    insert_rows(client, "distances", rows)
    pane = {"pane_start": END_S - HOUR_S, "pane_s": 60, "n": 10}
    panes = [row("panes", **known, **pane, field=name, nulls=n) for name, n in (("output_tokens", 1), ("cost_usd", 4))]
    insert_rows(client, "panes", panes)


_TOKENS = {"input_tokens": 10.0, "output_tokens": 1.0}


def _prediction(model: str, version: str, id_: str, at_ms: int, **values: Any) -> dict[str, Any]:
    own = {"model": model, "version": version, "id": id_, "at": at_ms, "received_at": at_ms}
    return row("predictions", **own, **values, offset=next(_offsets))


def fill_topics(client: Client, model: str) -> None:
    """Write the baseline of topics and languages of prompts, an hour of them, and 40 prompts with text."""
    known = {"model": model, "version": "1", "baseline_id": "b"}
    topics = baselines.category("topic", "billing", "refund", counts=SliceCounts(cells=(600, 390, 10, 0)))
    languages = baselines.category("language", "en", counts=SliceCounts(cells=(1000, 0, 0)))
    baseline = msgspec.structs.replace(baselines.baseline(topics, languages), model=model)
    add_row(client, "baselines", **known, body=dump_baseline(baseline).decode())
    predictions = [
        _prediction(
            model,
            "1",
            f"g{i:02}",
            (END_S - HOUR_S - 1 - i) * 1000,
            strings={"topic": ("billing", "refund", "new", "billing")[i % 4], "language": "en"},
            numbers={"topic_distance": i / 100, "code_share": 0.0},
            context={"prompt": "answer@7", "prompt_text": SECRET},
        )
        for i in range(40)
    ]
    insert_rows(client, "predictions", predictions)
    pane = {"slice": "all", "pane_start": END_S - 2 * HOUR_S, "pane_s": HOUR_S, "n": 10}
    cells: dict[str, dict[str, Any]] = {
        "topic": {"counts": [6, 2, 2, 0], "unseen": 2},
        "language": {"counts": [9, 1, 0]},
    }
    rollups = [row("rollups", **known, **pane, field=name, **counted) for name, counted in cells.items()]
    insert_rows(client, "rollups", rollups)
    window = {"slice": "all", "window": "1h", "window_start": END_S - 2 * HOUR_S, "window_end": END_S - HOUR_S, "n": 10}
    statistics = [row("distances", **known, **window, field=name, p50=0.2) for name in ("code_share", "topic_distance")]
    insert_rows(client, "distances", statistics)
    unseen = {"kind": "unseen", "k": 2, "rate": 0.2, "baseline_rate": 0.01, "threshold_minor": 0.05}
    add_row(client, "rates", **known, **window, **unseen, field="topic")


def fill_evaluations(client: Client, model: str) -> None:
    """Write evaluations of a day with their labels, stored rates, and runs of a suite.

    `faithful` flags 80 % of the faulty answers and 30 % of the sound ones. `agrees` has scores: version d the right
    ones, e their negatives, g one for all; `unlabelled` has no label.
    """
    begin_ms = EVALUATION_BEGIN_MS
    _evaluations(client, model)
    result = {"suite": "answers", "version": "1", "items": 60, "mean": 0.5, "low": 0.4, "high": 0.6}
    runs = ((model, "answer@7"), (model, "answer@8"), (f"{model}t", "answer@9"))
    for number, (name, prompt) in enumerate(runs):
        own = {"run_id": f"{name} {number}", "model": name, "prompt": prompt, "started_at": begin_ms + 1}
        add_row(client, "eval_runs", **result, **own)
    accepted = {"model": model, "run_id": f"{model} 0", "suite": "answers", "accepted_at": begin_ms + 2}
    add_row(client, "eval_acceptances", **accepted)
    rate = {"evaluator": "faithful", "evaluator_version": FAITHFUL, "rate": 0.2, "low": 0.1, "high": 0.3}
    times = {"at": begin_ms // 1000 + 60, "newest_at": begin_ms}
    stored = [row("evaluation_rates", model=model, prompt=prompt, **times, **rate) for prompt in ("*", "answer@7")]
    insert_rows(client, "evaluation_rates", stored)


def _evaluations(client: Client, model: str) -> None:
    rng, score_rng = random.Random(5), random.Random(6)
    rows, labels = [], []
    for i in range(EVALUATED):
        is_faulty = rng.random() < 0.2
        is_flagged = rng.random() < (0.8 if is_faulty else 0.3)
        rows.append(_evaluation(i, f"{model}.faithful", FAITHFUL, **{"class": "faulty" if is_flagged else "sound"}))
        if i % 3 == 0:
            # An answer that was published twice.
            second = _evaluation(i, f"{model}.faithful", SECOND_FAITHFUL, **{"class": "sound"})
            rows += [second, second | {"offset": next(_offsets)}]
        if i % 10 == 0:
            rows.append(_evaluation(i, f"{model}.cited", CITED, error="setup-failed"))
        if i % 10 == 1:
            claims = {"claims_supported": 2.0, "claims_altered": 1.0, "claims_unsupported": 0.0}
            checked = _evaluation(i, f"{model}.quoted", QUOTED, **{"class": "faulty"})
            rows.append(checked | {"metrics": claims, "context": checked["context"] | {"kind": "check"}})
        # Scores with ties, a few of them missing.
        score = round(score_rng.gauss(0.0 if is_faulty else 1.0, 1.0), 1)
        scores = (("agrees", "d", score), ("agrees", "e", -score), ("agrees", "g", 0.5), ("unlabelled", "f", score))
        for name, evaluator, own_score in scores:
            known = {} if i % 50 == 7 else {"score": own_score}
            rows.append(_evaluation(i, f"{model}.{name}", 12 * evaluator, **{"class": "sound"}, **known))
        if rng.random() < 0.5:
            at = {"at": EVALUATION_END_MS, "received_at": EVALUATION_END_MS, "label_type": "string", "offset": i}
            label = "faulty" if is_faulty else "sound"
            labels += [
                row("labels", model=f"{model}.{name}", id=f"g{i}", label=label, **at) for name in ("faithful", "agrees")
            ]
    # Neither another model whose name begins in the same way, nor one without evaluators.
    rows.append(_evaluation(1, f"{model}t.faithful", "d", **{"class": "faulty"}))
    rows.append(_prediction(model, "1", "g1", EVALUATION_END_MS - 9, context={"kind": "x"}))
    insert(client, predictions=rows, labels=labels)


def _evaluation(i: int, model: str, version: str, **columns: Any) -> dict[str, Any]:
    at_ms = EVALUATION_BEGIN_MS + i * 200_000 % 86_400_000
    context = {"kind": "judge", "version": "1", "prompt": f"answer@{7 + i % 2}", "sample": "0.5", "answer_text": SECRET}
    metrics = {"input_tokens": 10.0, "output_tokens": 5.0, "cost_usd": 0.001}
    usual = {"context": context, "metrics": metrics, "latency_ms": 100.0 + i}
    return _prediction(model, version, f"g{i}", at_ms, **usual, **columns)
