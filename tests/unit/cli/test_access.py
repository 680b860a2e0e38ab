"""The printed ACLs and roles: minimal, complete, and safe to paste into a shell."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any, get_args

import pytest
from barograph.contract import Contract, LabelSpec
from confluent_kafka.admin import AclOperation, ResourcePatternType, ResourceType

from barograph_server.provisioning.access.acls import acl_lines, user_acls
from barograph_server.streams.broker.acl import Acl, KafkaRole, required_acls
from barograph_server.streams.topics import Topics
from tests.support.command_line import run
from tests.support.pipeline import ROOT
from tests.support.secure_kafka import bindings_of
from tools.generate import doc_tables

ODD = 'it\'s "a" $(touch stolen) `touch stolen` ; #&|<>*\\ ü'


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
    writers = {
        acl.user for acl in user_acls(topics) for right in acl.rights if right == Acl("Write", "topic", "prompts")
    }
    assert writers == {"barograph-prompts", "barograph-guard"}
    assert {right.operation for right in required_acls("serving", topics)} == {"Read"}


def test_every_program_that_writes_to_kafka_has_a_user() -> None:
    """A new writer needs a user in `plan --acls`. Those that end the lists own a scratch namespace or a topic."""
    writers = {
        *("alerts/guard/health_log", "drills/run/live_models", "drills/run/live", "streams/evaluator/worker"),
        *("src/barograph_server/batch/backfill/backfill", "src/barograph_server/evaluation/review/gold_labels"),
        *("streams/monitor/worker", "streams/otlp/run", "streams/otlp/topic_reader", "streams/prompts/prompt_log"),
        *("streams/recorder/recorder", "streams/sketcher/sketcher"),
        *("drills/run/run", "src/barograph_server/operations/doctor/clocks"),
    }
    opens = re.compile(r"\b(?:Producer|Transactions|CompactedLog|Outbox|Publisher\.from_contract)\(")
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
    lines = acl_lines(user_acls(Topics(), [Contract(model=ODD)]), "kafka:9092")
    (line,) = (line for line in lines if "publisher" in line and not line.startswith("#"))
    assert f"User:barograph-publisher-{ODD}" in shlex.split(line)
    shell = ["bash", "-c", "kafka-acls.sh() { printf '%s\\n' \"$@\"; }\n" + "\n".join(lines)]
    result = subprocess.run(shell, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert f"User:barograph-publisher-{ODD}" in result.stdout.splitlines()
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
