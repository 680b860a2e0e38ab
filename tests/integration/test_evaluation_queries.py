"""Rates of faulty answers on the real engine: the view, the panels, and the command."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from barograph.contract import Text
from barograph.contract.evaluators import Evaluator
from barograph.contract.file import dump_contract

from cli.main import main
from dashboards.macros import TimeRange, expand
from local.clickhouse import LocalClickHouse
from sketches.judges.trust import FEW_LABELS, NO_BETTER, WORSE
from tests.support.panel_queries import every_query
from tests.support.pipeline import simple_contract
from tests.support.warehouse import migrated, row
from warehouse.client import Client
from warehouse.evaluation_rates import read_evaluation_rates
from warehouse.evaluator_trust import read_evaluator_trust
from warehouse.tables import insert_rows

pytestmark = pytest.mark.engine

QUERIES = {
    name: query for name, query in every_query().items() if name.startswith(("evaluations.", "suites.", "reviews."))
}
END = datetime(2026, 11, 29, tzinfo=UTC)
BEGIN = END - timedelta(days=1)
MODEL = "support.bot"
SECRET = "jane@example.org"
N = 400
OFFSETS = count()
REVIEWED = {"version": "1", "at": int(BEGIN.timestamp() * 1000) + 1, "reason": "random", "probability": 1.0}
STARTED = {"started_at": int(BEGIN.timestamp() * 1000) + 1}


@pytest.fixture(scope="module")
def client(engine: LocalClickHouse) -> Iterator[Client]:
    with migrated(engine) as client:
        fill(client)
        yield client


def evaluation(i: int, model: str, version: str, **columns: Any) -> dict[str, Any]:
    at_ms = int(BEGIN.timestamp() * 1000) + i * 200_000 % 86_400_000
    context = {"kind": "judge", "version": "1", "prompt": f"answer@{7 + i % 2}", "sample": "0.5", "answer_text": SECRET}
    usual = {"metrics": {"input_tokens": 10.0, "output_tokens": 5.0, "cost_usd": 0.001}, "latency_ms": 100.0 + i}
    own = {"model": model, "version": version, "id": f"g{i}", "at": at_ms, "received_at": at_ms}
    return row("predictions", **own, **usual, context=context, offset=next(OFFSETS), **columns)


def fill(client: Client) -> None:
    rng, score_rng = random.Random(5), random.Random(6)
    rows, labels = [], []
    for i in range(N):
        is_faulty = rng.random() < 0.2
        is_flagged = rng.random() < (0.8 if is_faulty else 0.3)
        rows.append(
            evaluation(i, f"{MODEL}.faithful", "aaaaaaaaaaaa", **{"class": "faulty" if is_flagged else "sound"})
        )
        if i % 3 == 0:
            # A second version of the judge, which calls every answer sound, and an answer that was published twice.
            second = evaluation(i, f"{MODEL}.faithful", "bbbbbbbbbbbb", **{"class": "sound"})
            rows += [second, second | {"offset": next(OFFSETS)}]
        if i % 10 == 0:
            rows.append(evaluation(i, f"{MODEL}.cited", "cccccccccccc", error="setup-failed"))
        if i % 10 == 1:
            claims = {"claims_supported": 2.0, "claims_altered": 1.0, "claims_unsupported": 0.0}
            checked = evaluation(i, f"{MODEL}.quoted", "hhhhhhhhhhhh", **{"class": "faulty"})
            rows.append(checked | {"metrics": claims, "context": checked["context"] | {"kind": "check"}})
        # Scores with ties, a few of them missing: the right ones, the wrong ones, one for all, and without labels.
        score = round(score_rng.gauss(0.0 if is_faulty else 1.0, 1.0), 1)
        for name, version, own_score in (
            ("agrees", "dddddddddddd", score),
            ("agrees", "eeeeeeeeeeee", -score),
            ("agrees", "gggggggggggg", 0.5),
            ("unlabelled", "ffffffffffff", score),
        ):
            known = {} if i % 50 == 7 else {"score": own_score}
            rows.append(evaluation(i, f"{MODEL}.{name}", version, **{"class": "sound"}, **known))
        if rng.random() < 0.5:
            at = {"at": END.timestamp() * 1000, "received_at": END.timestamp() * 1000, "label_type": "string"}
            value = "faulty" if is_faulty else "sound"
            for name in ("faithful", "agrees"):
                labels.append(row("labels", model=f"{MODEL}.{name}", id=f"g{i}", label=value, offset=i, **at))
    # Neither another model whose name begins in the same way, nor one without evaluators.
    rows.append(evaluation(1, "support.bott.faithful", "d", **{"class": "faulty"}))
    rows.append(
        row("predictions", model=MODEL, version="1", id="g1", at=END.timestamp() * 1000 - 9, context={"kind": "x"})
    )
    insert_rows(client, "predictions", rows)
    insert_rows(client, "labels", labels)
    reviews = [
        row("reviews", evaluator_model=f"{MODEL}.faithful", id=f"g{i}", reviewer=reviewer, label=label, **REVIEWED)
        for i, reviewer, label in (
            *((0, "r1", "faulty"), (0, "r2", "faulty"), (1, "r1", "sound"), (1, "r2", "faulty")),
            *((2, "r1", "unsure"), (3, "r1", "sound"), (4, "r2", "")),
        )
    ]
    reviews.append(row("reviews", evaluator_model="support.bott.faithful", id="g1", label="faulty", **REVIEWED))
    insert_rows(client, "reviews", reviews)
    at_ms = int(BEGIN.timestamp() * 1000)
    for number, (model, prompt) in enumerate(((MODEL, "answer@7"), (MODEL, "answer@8"), ("other", "answer@9"))):
        own = {"run_id": f"r{number}", "suite": "answers", "prompt": prompt, "version": "1", "items": 60}
        insert_rows(client, "eval_runs", [row("eval_runs", model=model, **own, mean=0.5, low=0.4, high=0.6, **STARTED)])
    rate = {"evaluator": "faithful", "evaluator_version": "aaaaaaaaaaaa", "rate": 0.2, "low": 0.1, "high": 0.3}
    for prompt in ("*", "answer@7"):
        stored = row("evaluation_rates", model=MODEL, prompt=prompt, at=at_ms // 1000 + 60, newest_at=at_ms, **rate)
        insert_rows(client, "evaluation_rates", [stored])
    accepted = {"run_id": "r0", "suite": "answers", "accepted_at": at_ms + 2}
    insert_rows(client, "eval_acceptances", [row("eval_acceptances", model=MODEL, **accepted)])


def ask(client: Client, name: str) -> list[tuple[Any, ...]]:
    chosen: dict[str, Any] = {"model": MODEL, "version": "1", "slice": "all", "window": "1d"}
    time_range = TimeRange.between(BEGIN, END)
    return client.rows(expand(QUERIES[name].sql, time_range, chosen, interval_ms=3_600_000))


@pytest.mark.parametrize("name", sorted(QUERIES))
def test_every_query_answers_in_its_shape_and_without_text(client: Client, name: str) -> None:
    rows = ask(client, name)
    assert rows
    assert all(len(each) == len(QUERIES[name].columns) for each in rows)
    assert SECRET not in repr(rows)


def test_the_view_has_a_row_for_each_evaluation_with_its_label(client: Client) -> None:
    condition = f"model = '{MODEL}' AND evaluator = 'faithful' AND evaluator_version = 'aaaaaaaaaaaa'"
    ((n, labels, cost, share),) = client.rows(
        f"SELECT count(), countIf(label != ''), sum(cost_usd), any(share) FROM evaluations WHERE {condition}"
    )
    assert (n, round(cost, 6), share) == (N, 0.4, 0.5)
    assert 150 < labels < 250
    ((names,),) = client.rows(
        "SELECT groupArray(name) FROM system.columns WHERE table = 'evaluations' AND database = currentDatabase()"
    )
    assert not any("text" in name for name in names)


def test_the_panel_and_the_library_compute_the_same_rates(client: Client) -> None:
    models = [f"{MODEL}.faithful", f"{MODEL}.cited"]
    rates = read_evaluation_rates(client, models, BEGIN, END)
    panel = {(each[0], each[1], each[2]): each for each in ask(client, "evaluations.rates")}
    panel = {key: each for key, each in panel.items() if key[0] in ("faithful", "cited")}
    assert len(panel) == len(rates.groups) == 5
    for i, group in enumerate(rates.groups):
        shown = panel[group.evaluator, group.evaluator_version, group.name]
        assert shown[3:5] == (group.judged, group.without_result)
        assert shown[6] == group.labels
        rate = rates.rate.rate
        if group.evaluator_version == "aaaaaaaaaaaa":
            assert shown[8] == pytest.approx(float(rate.value[i]), abs=1e-9)
            low, high = (float(end) for end in shown[9].split(" – "))
            assert low == pytest.approx(100 * float(rate.low[i]), abs=0.006)
            assert high == pytest.approx(100 * float(rate.high[i]), abs=0.006)
            assert low < 20 < high
            assert shown[5] > 0.3
            assert shown[10] == ""
        elif group.evaluator == "cited":
            assert shown[9:] == ("", "no result")
    by_day = read_evaluation_rates(client, models, BEGIN, END, "day")
    assert {group.name for group in by_day.groups} == {"2026-11-28"}


def test_the_panel_of_agreement_counts_each_answer_with_a_label_once(client: Client) -> None:
    condition = f"model = '{MODEL}' AND label != '' AND class != ''"
    expected = {
        (each[0], each[1]): list(each[2:])
        for each in client.rows(
            "SELECT evaluator, evaluator_version, uniqExactIf(id, label = 'faulty' AND class = 'faulty'), "
            "uniqExactIf(id, label = 'faulty' AND class = 'sound'), "
            "uniqExactIf(id, label = 'sound' AND class = 'sound'), "
            f"uniqExactIf(id, label = 'sound' AND class = 'faulty') FROM evaluations WHERE {condition} GROUP BY ALL"
        )
    }
    shown = {(each[0], each[1]): each for each in ask(client, "evaluations.agreement")}
    assert {key: list(each[2:6]) for key, each in shown.items()} == expected
    first = shown["faithful", "aaaaaaaaaaaa"]
    low, high = (float(end) for end in first[6].split(" – "))
    assert low < 80 < high
    low, high = (float(end) for end in first[7].split(" – "))
    assert low < 70 < high


def test_the_panel_of_reviews_counts_people_answers_and_agreement(client: Client) -> None:
    assert [each[:7] for each in ask(client, "reviews.agreement")] == [("faithful", 2, 3, 3, 1, 2, 0.5)]


def test_the_panel_of_citations_counts_claims_by_fault(client: Client) -> None:
    totals: dict[str, float] = {}
    for _, fault, claims in ask(client, "evaluations.citation_faults"):
        totals[fault] = totals.get(fault, 0.0) + claims
    assert totals == {"quoted: altered": N / 10, "quoted: unsupported": 0}


def test_the_panel_of_stored_rates_shows_the_interval_of_all_prompts(client: Client) -> None:
    rates = {name: value for _, name, value in ask(client, "evaluations.stored_rates")}
    assert rates == {
        "faithful aaaaaa, at least": 0.1,
        "faithful aaaaaa, rate": 0.2,
        "faithful aaaaaa, at most": 0.3,
    }


def test_the_panel_of_suites_shows_runs_and_which_is_accepted(client: Client) -> None:
    rows = {each[1]: each for each in ask(client, "suites.runs")}
    assert sorted(rows) == ["answer@7", "answer@8"]
    assert rows["answer@7"][4:] == (60, 0.5, "40 – 60", "accepted")
    assert rows["answer@8"][7] == ""


def test_the_panel_and_the_library_compute_the_same_trust(client: Client) -> None:
    models = [f"{MODEL}.{name}" for name in ("faithful", "cited", "agrees", "unlabelled")]
    trusts = read_evaluator_trust(client, models, BEGIN, END)
    panel = {each[1]: each for each in ask(client, "evaluations.trust") if each[0] != "quoted"}
    assert sorted(panel) == sorted(each.evaluator_version for each in trusts) == [12 * each for each in "abdefg"]
    assert len(trusts) == len(panel)
    for each in trusts:
        trust, shown = each.trust, panel[each.evaluator_version]
        assert shown[:5] == (each.evaluator, each.evaluator_version, each.measured_by, trust.faulty, trust.sound)
        assert shown[7] == trust.reason
        if trust.auroc != trust.auroc:
            assert shown[5:7] == (None, "")
            continue
        assert shown[5] == pytest.approx(trust.auroc, abs=1e-12)
        low, high = (float(end) for end in shown[6].split(" – "))
        assert (low, high) == pytest.approx((trust.low, trust.high), abs=6e-5)
    by_version = {each.evaluator_version[0]: each for each in trusts}
    reasons = {version: each.trust.reason for version, each in by_version.items()}
    assert reasons == {"a": "", "b": FEW_LABELS, "d": "", "e": WORSE, "f": FEW_LABELS, "g": NO_BETTER}
    assert {version: each.measured_by for version, each in by_version.items()} == {
        **dict.fromkeys("ab", "verdict"),
        **dict.fromkeys("defg", "score"),
    }
    n_labels = {version: each.trust.faulty + each.trust.sound for version, each in by_version.items()}
    assert n_labels["a"] > n_labels["d"] == n_labels["e"] > n_labels["b"] > n_labels["f"] == 0
    assert by_version["d"].trust.auroc == pytest.approx(1 - by_version["e"].trust.auroc)


def test_the_command_prints_rates(
    client: Client,
    engine: LocalClickHouse,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    evaluators = {"faithful": Evaluator(judge="f.yaml", endpoint="e"), "cited": Evaluator(check="refusal")}
    contract = simple_contract(model=MODEL, text=Text(content="keep", sample=1.0), evaluators=evaluators)
    own = {"contract_id": contract.id, "yaml": dump_contract(contract), "applied_at": 1}
    insert_rows(client, "contracts", [row("contracts", model=MODEL, **own)])
    address = engine.address(client.database)
    config = tmp_path / "barograph.toml"
    config.write_text(
        f'[clickhouse]\nhost = "{address.host}"\nport = {address.port}\ndatabase = "{address.database}"\n'
        f'username = "{address.username}"\n'
    )
    monkeypatch.setenv("BAROGRAPH_CLICKHOUSE_PASSWORD", address.password)

    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["evaluations", *arguments, "--since", "2026-11-28T00:00:00Z", "--config", str(config)])
        assert not ended.value.code, capsys.readouterr().err
        return capsys.readouterr().out

    printed = run(MODEL)
    assert "aaaaaaaaaaaa" in printed
    assert "insufficient: no gold" in printed
    assert "not trusted: fewer than 20 labels faulty or sound" in printed
    assert SECRET not in printed
    document = json.loads(run(MODEL, "--json"))
    rates = document["rates"]
    trusted = {each["evaluator_version"]: each for each in document["evaluators"]}
    assert {version: each["trusted"] for version, each in trusted.items()} == {"a" * 12: True, "b" * 12: False}
    assert trusted["a" * 12]["low"] < trusted["a" * 12]["auroc"] < trusted["a" * 12]["high"]
    assert {each["evaluator"] for each in rates} == {"faithful", "cited"}
    with pytest.raises(SystemExit):
        main(["evaluations", "support", "--config", str(config)])
    assert "no contract of 'support'" in capsys.readouterr().err
