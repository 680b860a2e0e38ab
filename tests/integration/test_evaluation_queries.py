"""Rates of faulty answers on the real engine: the view, the panels, and the command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from barograph.contract import Text
from barograph.contract.evaluators import Evaluator
from barograph.contract.file import dump_contract

from cli.main import main
from dashboards.macros import TimeRange
from local.clickhouse import LocalClickHouse
from sketches.judges.trust import FEW_LABELS, NO_BETTER, WORSE
from tests.support.language_model import (
    EVALUATED,
    EVALUATION_BEGIN,
    EVALUATION_END,
    FAITHFUL,
    SECOND_FAITHFUL,
    SECRET,
    fill_evaluations,
)
from tests.support.panel_queries import ask
from tests.support.pipeline import simple_contract
from tests.support.warehouse import migrated, row
from warehouse.client import Client
from warehouse.evaluation_rates import read_evaluation_rates
from warehouse.evaluator_trust import read_evaluator_trust
from warehouse.tables import insert_rows

pytestmark = pytest.mark.engine

MODEL = "support.bot"


@pytest.fixture(scope="module")
def migrated_client(engine: LocalClickHouse) -> Iterator[Client]:
    with migrated(engine) as client:
        fill_evaluations(client, MODEL)
        yield client


def rows(client: Client, name: str) -> list[tuple[Any, ...]]:
    return ask(client, name, time_range=TimeRange.between(EVALUATION_BEGIN, EVALUATION_END), model=MODEL)


def ends(text: str) -> list[float]:
    """The ends of an interval as a panel shows it."""
    return [float(end) for end in text.split(" – ")]


def test_the_view_has_a_row_for_each_evaluation_with_its_label_and_no_text(client: Client) -> None:
    condition = f"model = '{MODEL}' AND evaluator = 'faithful' AND evaluator_version = '{FAITHFUL}'"
    ((n, labels, cost, share),) = client.rows(
        f"SELECT count(), countIf(label != ''), sum(cost_usd), any(share) FROM evaluations WHERE {condition}"
    )
    assert (n, round(cost, 6), share) == (EVALUATED, 0.4, 0.5)
    assert 150 < labels < 250
    ((names,),) = client.rows(
        "SELECT groupArray(name) FROM system.columns WHERE table = 'evaluations' AND database = currentDatabase()"
    )
    assert not any("text" in name for name in names)


def test_the_panel_and_the_library_compute_the_same_rates(client: Client) -> None:
    models = [f"{MODEL}.faithful", f"{MODEL}.cited"]
    rates = read_evaluation_rates(client, models, EVALUATION_BEGIN, EVALUATION_END)
    panel = {each[:3]: each for each in rows(client, "evaluations.rates") if each[0] in ("faithful", "cited")}
    assert len(panel) == len(rates.groups) == 5
    for i, group in enumerate(rates.groups):
        shown = panel[group.evaluator, group.evaluator_version, group.name]
        assert shown[3:5] == (group.judged, group.without_result)
        assert shown[6] == group.labels
        rate = rates.rate.rate
        if group.evaluator_version == FAITHFUL:
            assert shown[8] == pytest.approx(float(rate.value[i]), abs=1e-9)
            low, high = ends(shown[9])
            assert [low, high] == pytest.approx([100 * float(rate.low[i]), 100 * float(rate.high[i])], abs=0.006)
            assert low < 20 < high
            assert shown[5] > 0.3
            assert shown[10] == ""
        elif group.evaluator == "cited":
            assert shown[9:] == ("", "no result")
    by_day = read_evaluation_rates(client, models, EVALUATION_BEGIN, EVALUATION_END, "day")
    assert {group.name for group in by_day.groups} == {f"{EVALUATION_BEGIN:%Y-%m-%d}"}


def test_reviews_claims_stored_rates_and_suites(client: Client) -> None:
    # People, answers, and how often they agree.
    assert [each[:7] for each in rows(client, "reviews.agreement")] == [("faithful", 2, 3, 3, 1, 2, 0.5)]
    claims: dict[str, float] = {}
    for _, fault, n in rows(client, "evaluations.citation_faults"):
        claims[fault] = claims.get(fault, 0.0) + n
    assert claims == {"quoted: altered": EVALUATED / 10, "quoted: unsupported": 0}
    # The interval of all prompts.
    stored = {name: value for _, name, value in rows(client, "evaluations.stored_rates")}
    assert stored == {
        f"faithful aaaaaa, {end}": rate for end, rate in (("at least", 0.1), ("rate", 0.2), ("at most", 0.3))
    }
    suites = {each[1]: each for each in rows(client, "suites.runs")}
    assert sorted(suites) == ["answer@7", "answer@8"]
    assert suites["answer@7"][4:] == (60, 0.5, "40 – 60", "accepted")
    assert suites["answer@8"][7] == ""


def test_the_panel_and_the_library_compute_the_same_trust(client: Client) -> None:
    models = [f"{MODEL}.{name}" for name in ("faithful", "cited", "agrees", "unlabelled")]
    trusts = read_evaluator_trust(client, models, EVALUATION_BEGIN, EVALUATION_END)
    panel = {each[1]: each for each in rows(client, "evaluations.trust") if each[0] != "quoted"}
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
        assert ends(shown[6]) == pytest.approx([trust.low, trust.high], abs=6e-5)
    by_version = {each.evaluator_version[0]: each for each in trusts}
    reasons = {version: each.trust.reason for version, each in by_version.items()}
    assert reasons == {"a": "", "b": FEW_LABELS, "d": "", "e": WORSE, "f": FEW_LABELS, "g": NO_BETTER}
    measured_by = {version: each.measured_by for version, each in by_version.items()}
    assert measured_by == {**dict.fromkeys("ab", "verdict"), **dict.fromkeys("defg", "score")}
    n_labels = {version: each.trust.faulty + each.trust.sound for version, each in by_version.items()}
    assert n_labels["a"] > n_labels["d"] == n_labels["e"] > n_labels["b"] > n_labels["f"] == 0
    assert by_version["d"].trust.auroc == pytest.approx(1 - by_version["e"].trust.auroc)


def test_the_command_prints_rates(client: Client, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    evaluators = {"faithful": Evaluator(judge="f.yaml", endpoint="e"), "cited": Evaluator(check="refusal")}
    contract = simple_contract(model=MODEL, text=Text(content="keep", sample=1.0), evaluators=evaluators)
    own = {"contract_id": contract.id, "yaml": dump_contract(contract), "applied_at": 1}
    insert_rows(client, "contracts", [row("contracts", model=MODEL, **own)])

    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["evaluations", *arguments, f"--since={EVALUATION_BEGIN:%Y-%m-%dT%H:%M:%SZ}", "--config", config])
        output, errors = capsys.readouterr()
        assert not ended.value.code, errors
        return output

    printed = run(MODEL)
    assert FAITHFUL in printed
    assert "insufficient: no gold" in printed
    assert "not trusted: fewer than 20 labels faulty or sound" in printed
    assert SECRET not in printed
    document = json.loads(run(MODEL, "--json"))
    trusted = {each["evaluator_version"]: each for each in document["evaluators"]}
    assert {version: each["trusted"] for version, each in trusted.items()} == {FAITHFUL: True, SECOND_FAITHFUL: False}
    assert trusted[FAITHFUL]["low"] < trusted[FAITHFUL]["auroc"] < trusted[FAITHFUL]["high"]
    assert {each["evaluator"] for each in document["rates"]} == {"faithful", "cited"}
    with pytest.raises(SystemExit):
        main(["evaluations", "support", "--config", config])
    assert "no contract of 'support'" in capsys.readouterr().err
