"""`apply` of a new serving version with `promotion: required`: refused without evidence, stored with it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from barograph.contract import Contract, ShadowTest
from barograph.contract.file import dump_contract

from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.local.kafka import LocalKafka
from barograph_server.warehouse.client import Client, connect
from barograph_server.warehouse.evaluation.eval_runs import EvalItem, EvalRun, read_runs, store_acceptances, store_run
from tests.integration.test_promote import CONTRACT, write_days
from tests.support.command_line import OutputOf
from tests.support.environment import installation, kafka_lines, write_settings

FIRST = msgspec.structs.replace(CONTRACT, serving="3", promotion="required")
MARGINS = {"accuracy": 0.02}


def serving(version: str) -> Contract:
    shadow = ShadowTest(candidate="3" if version != "3" else "4", of=version, margins=MARGINS)
    return msgspec.structs.replace(FIRST, serving=version, shadow=shadow)


@pytest.fixture
def call(
    broker: LocalKafka,
    engine: LocalClickHouse,
    topic_prefix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    output_of: OutputOf,
) -> Iterator[OutputOf]:
    """Run a command on an installation that does not exist yet, with a contract if one is given."""
    where = engine.address(topic_prefix.rstrip("-"))
    monkeypatch.setenv("BAROGRAPH_CLICKHOUSE_PASSWORD", where.password)
    lines = kafka_lines(broker.bootstrap_servers, topic_prefix)
    config = write_settings(tmp_path / "barograph.toml", where, lines)

    def run(code: int, *words: str, contract: Contract | None = None) -> str:
        path = tmp_path / "m.yaml"
        if contract is not None:
            path.write_text(dump_contract(contract))
        text = output_of(code, *words, *([path] if contract is not None else []), "--config", config)
        return " ".join(text.split())

    with installation(broker, engine, topic_prefix):
        yield run


@pytest.fixture
def installed(call: OutputOf, engine: LocalClickHouse, topic_prefix: str) -> Iterator[Client]:
    call(0, "apply", contract=FIRST)
    with connect(engine.address(topic_prefix.rstrip("-"))) as client:
        yield client


def in_force(client: Client) -> int:
    ((n,),) = client.rows("SELECT count() FROM contracts")
    return int(n)


def test_evidence_justifies_a_new_version(call: OutputOf, installed: Client, tmp_path: Path) -> None:
    write_days(installed, 60, better=0.04)
    bundle = str(tmp_path / "evidence.zip")
    out = call(0, "shadow", "export", "--model", "m", "--out", bundle)
    digest = out.split()[-1]
    out = call(3, "plan", contract=serving("4"))
    assert "! version 4 replaces version 3 of m: `barograph apply` needs --evidence BUNDLE" in out
    err = call(1, "apply", contract=serving("4"))
    assert "Refused: version 4 replaces version 3 of m, and its contract has promotion: required." in err
    assert "barograph shadow export --model m" in err
    err = call(1, "apply", "--evidence", bundle, contract=serving("5"))
    assert "it is about version 4 beside version 3 of m" in err
    assert in_force(installed) == 1
    out = call(0, "apply", "--evidence", bundle, contract=serving("4"))
    assert f"~ version 4 replaces version 3 of m, by the evidence {digest}" in out
    assert in_force(installed) == 2
    rows = installed.rows("SELECT replaced, serving, evidence, override_reason FROM promotions")
    assert rows == [("3", "4", digest, "")]
    assert call(0, "apply", contract=serving("4")) == "Nothing to do: everything is up to date."
    assert "! --evidence, --override and --author are not needed" in call(0, "apply", "--evidence", bundle)
    assert "without evidence" not in call(0, "status")


def test_evidence_that_is_undecided_or_outdated_is_refused(call: OutputOf, installed: Client, tmp_path: Path) -> None:
    write_days(installed, 20, better=0.04)
    bundle = str(tmp_path / "evidence")
    call(0, "shadow", "export", "--model", "m", "--out", bundle)
    assert "its decision is insufficient, not promote" in call(1, "apply", "--evidence", bundle, contract=serving("4"))
    installed.command(
        "INSERT INTO shadow_pairs SELECT * REPLACE (primary_right + 9 AS primary_right, records + 1 AS records) "
        "FROM shadow_pairs FINAL"
    )
    err = call(1, "apply", "--evidence", bundle, contract=serving("4"))
    assert "days.json: slice all, 2026-05-01, sums.primary_right: bundle" in err


def test_evidence_against_which_later_days_decide_is_refused(call: OutputOf, installed: Client, tmp_path: Path) -> None:
    write_days(installed, 60, better=0.04)
    bundle = str(tmp_path / "evidence.zip")
    call(0, "shadow", "export", "--model", "m", "--out", bundle)
    write_days(installed, 150, better=-0.09, first_day=60)
    call(1, "promote", "--model", "m")
    call(0, "shadow", "verify", bundle)
    err = call(1, "apply", "--evidence", bundle, contract=serving("4"))
    assert "evidence.zip: with the days since the export, the decision is hold." in err
    assert in_force(installed) == 1


def test_evidence_after_a_promotion_justifies_the_roll_back(call: OutputOf, installed: Client, tmp_path: Path) -> None:
    call(0, "apply", "--override", "test", "--author", "ana", contract=serving("4"))
    write_days(installed, 20, better=0.06, candidate="3", of="4")
    early, bundle = str(tmp_path / "early"), str(tmp_path / "evidence.zip")
    call(0, "shadow", "export", "--model", "m", "--out", early)
    err = call(1, "apply", "--evidence", early, contract=serving("3"))
    assert "its decision is insufficient, not roll back to version 3." in err
    assert "decides for version 3, give the bundle" in err
    write_days(installed, 40, better=0.06, candidate="3", of="4", first_day=20)
    call(1, "promote", "--model", "m")
    call(0, "shadow", "export", "--model", "m", "--out", bundle)
    out = call(0, "apply", "--evidence", bundle, contract=serving("3"))
    assert "~ version 3 replaces version 4 of m, by the evidence " in out


def test_an_override_needs_a_reason_and_a_name_and_is_stored_and_shown(call: OutputOf, installed: Client) -> None:
    for words, message in (
        (("--override", " ", "--author", " "), "--override needs a reason and --author a name"),
        (
            ("--override", "hotfix", "--author", "ana", "--evidence", "e.zip"),
            "--override applies without evidence: leave it out, or leave out --evidence",
        ),
    ):
        assert message in call(1, "apply", *words, contract=serving("4"))
    assert in_force(installed) == 1
    out = call(0, "apply", "--override", "hotfix of an outage", "--author", "ana", contract=serving("4"))
    assert "! version 4 replaces version 3 of m without evidence, by ana: hotfix of an outage" in out
    out = call(0, "status")
    assert "m: version 4 replaced version 3 without evidence at " in out
    assert "by ana: hotfix of an outage" in out
    promotion = json.loads(call(0, "status", "--format", "json"))["promotions"][0]
    assert (promotion["serving"], promotion["override_by"], promotion["evidence"]) == ("4", "ana", "")
    open_again = msgspec.structs.replace(serving("4"), promotion="open")
    assert "Refused: m no longer has promotion: required." in call(1, "apply", contract=open_again)
    call(0, "apply", "--override", "we stop using it", "--author", "ben", contract=open_again)
    assert "m: promotion: required was removed without evidence" in call(0, "status")


def with_suites(version: str, *suites: str) -> Contract:
    return msgspec.structs.replace(serving(version), promotion="open", suites=suites)


def accept_run(client: Client, suite: str, version: str, run_id: str) -> None:
    answers = tuple(EvalItem(f"i{number}", 1, 1.0, True, {}) for number in range(5))
    own: dict[str, Any] = {"model": "m", "suite": suite, "suite_version": "1", "run_id": run_id, "version": version}
    own |= {"prompt": "", "format": "inspect-ai", "scorer": "fact", "started_at_ms": 1_790_000_000_000, "unscored": 0}
    store_run(client, EvalRun(**own, answers=answers), 1_790_000_000_000)
    stored = next(each for each in read_runs(client, "m") if each.run_id == run_id)
    store_acceptances(client, [(stored, "first")], "ana", 1_790_000_000_001)


def test_a_version_needs_an_accepted_run_in_each_suite_of_the_contract(call: OutputOf, installed: Client) -> None:
    call(0, "apply", "--override", "test", "--author", "ana", contract=with_suites("3", "answers", "tools"))
    accept_run(installed, "answers", "4", "run-a")
    accept_run(installed, "tools", "3", "run-of-another-version")
    out = call(3, "plan", contract=with_suites("4", "answers", "tools"))
    assert "version 4 replaces version 3 of m: `barograph apply` needs an accepted run in answers, tools" in out
    err = call(1, "apply", contract=with_suites("4", "answers", "tools"))
    assert "no accepted run of version 4 is stored for the suites that its contract names: tools." in err
    assert "Refused: m no longer has suites: tools" in call(1, "apply", contract=with_suites("4", "answers"))
    # Programs put the provider before the served model.
    accept_run(installed, "tools", "openai-api/local/4", "run-b")
    out = call(0, "apply", contract=with_suites("4", "answers", "tools"))
    assert "~ version 4 replaces version 3 of m, by the accepted runs run-a, run-b" in out
    rows = installed.rows("SELECT replaced, serving, evidence, eval_runs FROM promotions WHERE serving = '4'")
    assert rows == [("3", "4", "", ["run-a", "run-b"])]
    # A suite is removed with a reason and a name only.
    call(1, "apply", contract=with_suites("4", "answers"))
    out = call(0, "apply", "--override", "hotfix", "--author", "ana", contract=with_suites("4", "answers"))
    assert "! m no longer has suites: tools without evidence, by ana: hotfix" in out
