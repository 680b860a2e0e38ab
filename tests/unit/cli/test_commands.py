import dataclasses
import json
import math
import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ET
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from unittest.mock import Mock

import msgspec
import numpy as np
import pytest
import typer
from barograph import ContractError
from barograph.contract import Contract, LabelSpec
from barograph.contract.problems import Problem
from barograph.text.codebook import load_codebook
from barograph.text.embedding import ENDPOINT_TEXTS
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AclOperation, ResourcePatternType, ResourceType
from typer.testing import CliRunner, Result

from barograph_server.cli import main as command
from barograph_server.cli.main import COMMANDS, describe_error, main
from barograph_server.cli.options import Arg, Opt, Options, expand
from barograph_server.cli.shadow import status_values
from barograph_server.drills.faults import InjectionRequest, find_fault
from barograph_server.drills.report import DrillCheck, DrillReport, failed_report
from barograph_server.drills.run.plan import DrillRequest, plan_drill
from barograph_server.drills.run.results import planned_result, unplanned_result
from barograph_server.drills.run.text import write_junit
from barograph_server.errors import EXIT_FAILED, EXIT_UNREADABLE, EXIT_USAGE, EXIT_VIOLATIONS, CommandError
from barograph_server.provisioning.access.acls import acl_lines, user_acls
from barograph_server.rollouts.projected_cost import projected_cost
from barograph_server.streams.broker.acl import Acl, KafkaRole, required_acls
from barograph_server.streams.topics import Topics
from barograph_server.terminal import TableColumn, Terminal, rows_text
from tests.support.candidate_evaluation import HISTOGRAMS, made_evaluation
from tests.support.command_line import run
from tests.support.drill_models import CONTRACT, baseline, make_events, without
from tests.support.drill_simulation import ON_CALL
from tests.support.pipeline import ROOT
from tests.support.questions import all_questions
from tests.support.scripted_http import Exchange, ScriptedServer
from tests.support.secure_kafka import bindings_of
from tools.generate import doc_tables


def test_the_help_lists_every_command_without_heavy_imports() -> None:
    code = (
        "import sys\nfrom barograph_server.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'numpy', 'scipy', 'pyarrow', 'confluent_kafka', 'clickhouse_connect', 'faust', 'msgspec', 'chdb'}\n"
        "print('loaded', sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "loaded []"
    for name in COMMANDS:
        assert f" {name} " in result.stdout


def test_a_wrong_command_line_ends_with_2_and_an_error_of_a_decision_with_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("aply") == EXIT_USAGE
    assert "Did you mean 'apply'?" in capsys.readouterr().err
    for words, expected in (
        (("run", "juggler"), EXIT_USAGE),
        (("shadow", "status"), EXIT_USAGE),
        (("shadow", "status", "--model", "m", "--config", "missing.toml"), EXIT_FAILED),
        (("promote",), 3),
        (("promote", "--model", "m", "--days", "3"), 3),
        (("eval", "gate", "--model", "m"), 3),
        (("eval", "import", "missing.json"), 3),
    ):
        assert run(*words) == expected, words


def test_a_gate_that_failed_does_not_exit_like_one_that_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, words in (
        ("batch.check.check", ("check", "d.csv", "--contract", "m.yaml")),
        ("batch.compare.compare.compare", ("compare", "a.csv", "b.csv", "--fail-at", "major")),
        ("batch.skew.skew.skew", ("skew", "--served", "a.csv", "--recomputed", "b.csv")),
    ):
        monkeypatch.setattr(f"barograph_server.{module}", Mock(side_effect=KeyError("x")))
        assert run(*words) == EXIT_UNREADABLE != EXIT_VIOLATIONS, words


def test_errors_are_described_in_sentences() -> None:
    kafka = KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN))
    for error, message in (
        (CommandError("Do this."), "Do this."),
        (ContractError([Problem("a.yaml", 3, "wrong"), Problem("a.yaml", 4, "also")]), "a.yaml:3: wrong\na.yaml:4: al"),
        (FileNotFoundError(2, "No such file or directory", "x.csv"), "x.csv: no such file or directory."),
        (kafka, "Check bootstrap_servers and that the broker runs."),
        (TypeError("a\n b"), "a bug in Barograph: TypeError: a b. Run the command again with --debug"),
    ):
        assert message in describe_error(error)
        assert describe_error(error).endswith((".", "also"))


def test_errors_go_to_standard_error_and_debug_shows_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(args: list[str], prog_name: str) -> None:
        assert args == ["status"]
        raise CommandError("Do this.")

    monkeypatch.setattr(command, "app", fail)
    assert run("status") == EXIT_FAILED
    output = capsys.readouterr()
    assert (output.out, output.err) == ("", "Do this.\n")
    with pytest.raises(CommandError):
        main(["status", "--debug"])


class Shared(Options, frozen=True):
    """Options of several commands."""

    from_: Annotated[str | None, Opt("Start.", "TIME")] = None
    fields: Annotated[tuple[str, ...], Opt("Only this field; repeatable.", "NAME", name="--field")] = ()
    limit: Annotated[int, Opt("At most.", min=1)] = 10


RECEIVED: list[dict[str, Any]] = []


def program(
    shared: Shared,
    files: Annotated[tuple[Path, ...], Arg("Files.", "FILE")],
    kind: Annotated[Literal["a", "b"], Opt("The kind.")],
    dry_run: Annotated[bool, Opt("Change nothing.")] = False,
) -> None:
    """Do something."""
    RECEIVED.append({"files": files, "kind": kind, "dry_run": dry_run, **shared.values()})


def call(*words: str) -> Result:
    app = typer.Typer(add_completion=False)
    app.command()(expand(program))
    RECEIVED.clear()
    return CliRunner().invoke(app, words, env={"COLUMNS": "200"})


def test_a_struct_and_parameters_become_options() -> None:
    result = call("x.csv", "y.csv", "--kind", "b", "--from", "today", "--field", "k", "--field", "x", "--dry-run")
    assert result.exit_code == 0, result.output
    files = (Path("x.csv"), Path("y.csv"))
    expected = {"files": files, "kind": "b", "dry_run": True, "from_": "today", "fields": ("k", "x"), "limit": 10}
    assert [expected] == RECEIVED
    assert call("x.csv", "--kind", "b").exit_code == 0
    assert [expected | {"files": files[:1], "dry_run": False, "from_": None, "fields": ()}] == RECEIVED


def test_wrong_values_are_refused_and_the_help_has_the_shared_options_last() -> None:
    for words in (("x.csv",), ("--kind", "a"), ("x.csv", "--kind", "c"), ("x.csv", "--kind", "a", "--limit", "0")):
        assert call(*words).exit_code == 2, words
    lines = call("--help").output.splitlines()
    shown = [line.split()[1 + (line.split()[1] == "*")] for line in lines if "--" in line.split("  ")[0] + line[:12]]
    options = [name for name in shown if name.startswith("--")]
    assert options == ["--kind", "--dry-run", "--from", "--field", "--limit", "--help"]
    assert any("[default: 10]" in line for line in lines)


def test_every_command_has_the_summary_of_the_list_first_in_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("barograph ")
    for name, entry in COMMANDS.items():
        with pytest.raises(SystemExit):
            main([name, "--help"])
        assert " ".join(capsys.readouterr().out.split()).find(entry.summary.split(",")[0]) > 0, name


def test_rows_are_written_for_programs_and_in_markdown() -> None:
    rows = [Opt("h", name="a|b", min=1200.0, metavar="x"), Opt("h", name="c")]
    columns = (TableColumn("name", "what", lambda name: f"<{name}>"), TableColumn("min", "least", ",.1f"))
    assert rows_text(rows, columns, "csv") == "name,min\na|b,1200.0\nc,\n"
    table = "| what | least |\n| --- | --- |\n| <a\\|b> | 1,200.0 |\n| <c> |  |\n"
    assert rows_text(rows, columns, "markdown") == table
    assert json.loads(rows_text(rows[:1], columns, "json")) == [{"name": "a|b", "min": 1200.0}]


def test_progress_is_lines_some_seconds_apart_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now_s = 0.0
    monkeypatch.setattr("barograph_server.terminal.monotonic", lambda: now_s)
    with Terminal(stderr=True).steps() as on_step:
        for now_s in (1.0, 4.0, 5.0, 9.0, 10.0):
            on_step(f"after {now_s:.0f} s")
        now_s = 20.0
        on_step("after 10 s")
    assert capsys.readouterr().err == "after 5 s\nafter 10 s\n"


def test_every_right_is_in_exactly_one_command_of_its_user() -> None:
    for acl in user_acls(Topics("t-")):
        bindings: list[Any] = [binding for line in acl_lines([acl], "kafka:9092") for binding in bindings_of(line)]
        unique = {(b.restype.name, b.name, b.resource_pattern_type.name, b.operation.name) for b in bindings}
        assert len(bindings) == len(unique) == len(acl.rights)
        assert {b.principal for b in bindings} == {f"User:{acl.user}"}


def test_no_user_may_change_the_cluster_or_foreign_names() -> None:
    for line in acl_lines(user_acls(Topics("t-")), ""):
        for binding in bindings_of(line):
            assert binding.restype in (ResourceType.TOPIC, ResourceType.GROUP, ResourceType.TRANSACTIONAL_ID)
            assert binding.name.startswith("t-")
            assert binding.operation not in (AclOperation.ALL, AclOperation.DELETE)
            if binding.resource_pattern_type == ResourcePatternType.PREFIXED:
                assert binding.restype == ResourceType.TRANSACTIONAL_ID


def test_two_installations_on_one_cluster_share_neither_users_nor_resources() -> None:
    """A publisher of one trust domain must not be able to write events of another."""
    models = [Contract(model="m", label=LabelSpec(type="bool"))]
    risk, ads = user_acls(Topics("risk."), models), user_acls(Topics("ads."), models)
    assert not {acl.user for acl in risk} & {acl.user for acl in ads}
    for granted in (right for acl in risk for right in acl.rights):
        for other in (right for acl in ads for right in acl.rights):
            matches = other.name.startswith(granted.name) if granted.prefixed else other.name == granted.name
            assert not (matches and granted.resource == other.resource), (granted, other)


def test_processors_do_not_write_to_source_topics_and_publishers_do_not_read() -> None:
    topics = Topics()
    for who in ("sketcher", "recorder", "monitor"):
        written = {right.name for right in required_acls(who, topics) if right.operation == "Write"}
        assert not written & {topics.predictions, topics.labels}
    assert {right.operation for right in required_acls("publisher", topics)} == {"Write"}


def test_only_the_command_and_the_guard_write_prompts_and_serving_systems_only_read() -> None:
    topics = Topics()
    writers = {acl.user for acl in user_acls(topics) if Acl("Write", "topic", "prompts") in acl.rights}
    assert writers == {"barograph-prompts", "barograph-guard"}
    assert {right.operation for right in required_acls("serving", topics)} == {"Read"}


def test_every_program_that_writes_to_kafka_has_a_user() -> None:
    """A new writer needs a user in `plan --acls`. Those that end the lists own a scratch namespace or a topic."""
    writers = {
        *("alerts/guard/health_log", "drills/run/live_models", "drills/run/live", "streams/evaluator/worker"),
        "streams/evaluator/recorded_answers",
        *("src/barograph_server/batch/backfill/backfill", "src/barograph_server/evaluation/review/gold_labels"),
        *("streams/monitor/worker", "streams/otlp/run", "streams/otlp/topic_reader", "streams/prompts/registry_change"),
        *("streams/recorder/recorder", "streams/sketcher/sketcher"),
        *("drills/run/run", "src/barograph_server/operations/doctor/clocks"),
    }
    opens = re.compile(
        r"\b(?:Producer|Transactions|OnlyWriter|CompactedLog|Outbox|Publisher\.from_contract|publisher_of)\("
    )
    folders = ("alerts", "cli", "drills", "local", "src/barograph_server", "streams")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py") if opens.search(path.read_text())]
    opened = {path.relative_to(ROOT).with_suffix("").as_posix() for path in paths if path.parent.name != "broker"}
    assert opened == writers
    users = {acl.user.removeprefix("barograph-") for acl in user_acls(Topics())}
    assert users == {*get_args(KafkaRole)} == {who for who, _ in doc_tables._PRINCIPALS}


def test_each_model_has_a_publisher_that_may_write_labels_only_if_it_has_labels() -> None:
    scored = Contract(model="scored", label=LabelSpec(type="bool"))
    plain = Contract(model="plain")
    topics = {acl.user: [right.name for right in acl.rights] for acl in user_acls(Topics(), [scored, plain])}
    assert topics["barograph-publisher-scored"] == ["predictions", "labels"]
    assert topics["barograph-publisher-plain"] == ["predictions"]
    assert "barograph-publisher" not in topics


def test_odd_names_are_quoted_for_the_shell(tmp_path: Path) -> None:
    odd = 'it\'s "a" $(touch stolen) `touch stolen` ; #&|<>*\\ ü'
    lines = acl_lines(user_acls(Topics(), [Contract(model=odd)]), "kafka:9092")
    (line,) = (line for line in lines if "publisher" in line and not line.startswith("#"))
    assert f"User:barograph-publisher-{odd}" in shlex.split(line)
    shell = ["bash", "-c", "kafka-acls.sh() { printf '%s\\n' \"$@\"; }\n" + "\n".join(lines)]
    result = subprocess.run(shell, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert f"User:barograph-publisher-{odd}" in result.stdout.splitlines()
    assert not list(tmp_path.iterdir())


def test_the_command_prints_them_without_a_connection(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BAROGRAPH_TOPIC_PREFIX", "eu.")
    monkeypatch.setenv("BAROGRAPH_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    assert run("plan", "--acls") == 0
    shown = capsys.readouterr().out
    assert "--bootstrap-server 127.0.0.1:1 " in shown
    assert "--operation Read --topic eu.predictions" in shown
    assert "--resource-pattern-type prefixed --transactional-id eu.sketcher-" in shown
    assert run("plan", "--roles") == 0
    shown = capsys.readouterr().out
    assert "INSERT ON barograph.predictions" in shown
    assert "TO barograph_grafana WITH REPLACE OPTION;" in shown


run_codebook = partial(run, "codebook")


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    lines = [json.dumps({"prompt": text}) for text in [*all_questions()][:120]]
    path.write_text("\n".join([*lines, lines[0].upper().replace("PROMPT", "prompt", 1), ""]), encoding="utf-8")
    return path


def test_train_show_and_name(tmp_path: Path, prompts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, named = (tmp_path / f"{name}.codebook.npz" for name in ("a", "b", "c"))
    assert run_codebook("train", prompts, "--clusters", 4, "--out", first) == 0
    output = capsys.readouterr().out
    assert load_codebook(first).id in output
    assert "password" not in output, "texts are printed on request only"
    assert run_codebook("train", prompts, "--clusters", 4, "--out", second, "--show", 2) == 0
    assert first.read_bytes() == second.read_bytes()
    assert "password" in capsys.readouterr().out
    assert b"password" not in first.read_bytes()
    assert load_codebook(first).header.n_training == 96, "120 different texts, a fifth of them held out"
    names = tmp_path / "names.yaml"
    names.write_text("names: {t0: first topic}")
    assert run_codebook("name", first, names, "--out", named) == 0
    capsys.readouterr()
    assert run_codebook("show", named, "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["names"] == ["first topic", "t1", "t2", "t3"]
    assert run_codebook("show", named, prompts, "--show", 1) == 0
    assert "first topic" in capsys.readouterr().out


def test_own_vectors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vectors, out = tmp_path / "vectors.npy", tmp_path / "a.codebook.npz"
    np.save(vectors, np.random.default_rng(1).normal(size=(100, 6)))
    train = ("train", "--vectors", vectors, "--clusters", 3, "--out", out)
    for options, reason in (((), "--embedding"), (("--embedding", "mine@2", "--show", 2), "file of texts")):
        assert run_codebook(*train, *options) == 1
        assert reason in capsys.readouterr().err
        assert not out.exists(), "nothing is written before everything was checked"
    assert run_codebook(*train, "--embedding", "mine@2") == 0
    embedding = load_codebook(out).header.embedding
    assert (embedding.name, embedding.version, embedding.dimensions) == ("mine", "2", 6)
    assert run_codebook("show", out, "--vectors", vectors) == 1
    assert "file of texts" in capsys.readouterr().err


def embed(exchange: Exchange) -> None:
    request = json.loads(exchange.body)
    rows = [{"index": i, "embedding": [len(text), 1.0 + i % 5]} for i, text in enumerate(request["input"])]
    is_odd = request["model"] == "odd"
    body = json.dumps({"data": rows[:1] if is_odd else rows[::-1]}).encode()
    exchange.send(body, 503 if request["model"] == "away" else 200)


def test_an_endpoint_embeds(
    tmp_path: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BAROGRAPH_EMBEDDINGS_KEY", "a key")
    out = tmp_path / "a.codebook.npz"
    with ScriptedServer(embed) as endpoint:
        options = ("--endpoint", f"{endpoint.url}/v1", "--clusters", 3, "--out", out)
        assert run_codebook("train", prompts, "--embedding", "small@1", *options) == 0
        assert load_codebook(out).header.embedding.name == "small"
        sizes = [len(request.json()["input"]) for request in endpoint.requests]
        assert sizes == [ENDPOINT_TEXTS, 120 - ENDPOINT_TEXTS]
        assert {request.headers["Authorization"] for request in endpoint.requests} == {"Bearer a key"}
        assert {request.path for request in endpoint.requests} == {"/v1/embeddings"}
        for model, reason in (("odd", "one embedding per text"), ("away", "status 503")):
            assert run_codebook("train", prompts, "--embedding", model, *options) == 1
            assert reason in capsys.readouterr().err


def test_bad_input(tmp_path: Path, prompts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken, names, out, good = (tmp_path / name for name in ("broken", "names.yaml", "a.npz", "good.npz"))
    broken.write_text("x")
    names.write_text("names:\n  t0: billing\n  t0: refunds\n")
    assert run_codebook("train", prompts, "--clusters", 4, "--out", good) == 0
    for arguments, reason in (
        (("train", "--out", out), "Name a file of texts"),
        (("train", "--vectors", broken, "--embedding", "m", "--out", out), "not a npy file"),
        (("train", prompts, "--endpoint", "http://127.0.0.1:1", "--embedding", "m", "--out", out), "does not answer"),
        (("show", broken), "is not a codebook"),
        (("name", good, names, "--out", out), f"{names}:3"),
    ):
        assert run_codebook(*arguments) == 1
        assert reason in capsys.readouterr().err
    for content, reason in (
        ("{", "line 1 is not JSON"),
        ('"a"\n{"other": 1}', "line 2 has no text"),
        ('"a"', "too few"),
    ):
        broken.write_text(content)
        assert run_codebook("train", broken, "--out", out) == 1
        assert reason in capsys.readouterr().err


def test_bad_input_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("key.yaml").write_text("suite: 1\nmodel: shop\ndrills:\n  - {fault: silence, feild: x}\n")
    Path("empty.yaml").write_text("\n")
    Path("latin-1.yaml").write_bytes("suite: 1 # für\n".encode("latin-1"))
    for arguments, message in (
        ("run mean-sift --model shop", "did you mean mean-shift?"),
        ("run silence --model drill.shop.1", "drill.shop.1 is the model of a drill"),
        ("run silence --model shop --duration 1y", "--duration: '1y' is not a duration"),
        ("suite key.yaml", "key.yaml:4"),
        ("suite none.yaml", "none.yaml cannot be read: no such file"),
        ("suite latin-1.yaml", "latin-1.yaml cannot be read: the text is not UTF-8."),
        ("suite empty.yaml", "empty.yaml is empty; write the keys suite, model and drills"),
        ("run silence --model shop --webhook ftp://x", "--webhook does not start with http://"),
    ):
        assert run("drill", *arguments.split()) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert message in captured.err
        assert "Traceback" not in captured.err
        assert captured.err.count("\n") == 1, captured.err


def test_junit_has_a_test_case_per_drill(tmp_path: Path) -> None:
    request = DrillRequest(InjectionRequest(find_fault("mean-shift"), "x"))
    plan = plan_drill("7", request, without(CONTRACT, route="shop"), baseline(), make_events(), ON_CALL)
    check = DrillCheck("page psi-major x to on-call", "page psi-major x at on-call", True, 3600)
    failure = failed_report("the drill can run", "There is no field z.")
    path = tmp_path / "new" / "junit.xml"
    results = [planned_result(plan, DrillReport((check,), ("A note.",))), unplanned_result("8", request, None, failure)]
    write_junit(path, "shop", results)
    suite = ET.parse(path).getroot()
    assert (suite.attrib["tests"], suite.attrib["failures"]) == ("2", "1")
    passed, failed = suite
    assert [each.tag for each in passed] == ["system-out"]
    expected = "ok: expected page psi-major x to on-call; observed page psi-major x at on-call after 1h"
    assert passed[0].text == f"{expected}\nA note."
    assert failed[0].attrib["message"] == "expected: the drill can run; observed: There is no field z."
    assert failed[1].text == "failed: expected the drill can run; observed There is no field z."


def test_json_has_costs_disagreement_and_histograms(capsys: pytest.CaptureFixture[str]) -> None:
    # Every request has a cost of 0.01 on the primary, and about 0.009 on the candidate.
    evaluation = made_evaluation(10)
    shadow = msgspec.structs.replace(evaluation.test.shadow, prices={"in": 0.001})
    whole = evaluation.whole
    whole.sums["costed"] = np.full(10, 391.0)
    whole.spent_primary["in"] = np.full(10, 3_910.0)
    whole.spent_candidate["in"] = 3_519.0 + np.arange(10, dtype=np.float64) % 5
    evaluation = dataclasses.replace(evaluation, test=dataclasses.replace(evaluation.test, shadow=shadow))
    Terminal().json(status_values(evaluation, dataclasses.replace(HISTOGRAMS, correlation=math.nan)))
    values = json.loads(capsys.readouterr().out)
    cost = projected_cost(evaluation.test.shadow, evaluation.whole)
    assert cost is not None
    assert values["cost_per_day"] == dataclasses.asdict(cost) | {"low": None, "high": None}
    assert values["disagreement"] is None
    assert values["correlation"] is None
    assert [each["hour"] for each in values["hours"]] == [0, 23]
    assert values["hours"][1]["candidate"][values["latency_ranks"].index(0.99)] == 130.0
    assert (values["errors_primary"], values["errors_candidate"]) == ({"TimeoutError": 3}, {"<Error>": 12})
