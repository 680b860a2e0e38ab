"""`barograph doctor` on the real broker and engine, with a fault of each kind planted."""

from __future__ import annotations

import dataclasses
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from barograph.contract.file import dump_contract
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from cli.apply import apply_all
from cli.doctor.broker import _configured
from cli.doctor.clocks import _judged
from cli.doctor.examine import examine
from cli.doctor.finding import Finding, State
from cli.errors import EXIT_FAILED, EXIT_OK
from cli.main import main
from cli.settings import Settings
from local.clickhouse import LocalClickHouse
from local.kafka import LocalKafka
from tests.support.pipeline import simple_baseline, simple_contract
from tests.support.stub_grafana import StubGrafana, serving
from warehouse.client import Address, connect
from warehouse.tables import insert_rows

CONTRACT = simple_contract()
KINDS = ("sketcher", "recorder", "monitor", "scorer")


@pytest.fixture
def settings(broker: LocalKafka, engine: LocalClickHouse, topic_prefix: str) -> Iterator[Settings]:
    """An installation that was applied, with a processor of each kind that reports."""
    address = Address(engine.host, engine.port, topic_prefix.rstrip("-"))
    made = Settings(
        bootstrap_servers=broker.bootstrap_servers,
        warehouse=address,
        topic_prefix=topic_prefix,
        predictions_partitions=2,
        labels_partitions=1,
        partials_partitions=2,
    )
    apply_all(made, [(CONTRACT, dump_contract(CONTRACT))], [simple_baseline(rows=1000)])
    with connect(address) as client:
        insert_rows(client, "processors", [report(kind, 0) for kind in KINDS])
    yield made
    with connect(dataclasses.replace(address, database="default")) as client:
        client.command(f"DROP DATABASE IF EXISTS {address.database}")


def report(kind: str, ago_s: int) -> dict[str, object]:
    now_ms = int(time.time() * 1000) - 1000 * ago_s
    numbers = dict.fromkeys(("lag", "events", "rate", "retries", "dead_letters", "last_commit_at"), 0)
    plain = {"kind": kind, "instance": f"{kind}-1", "at": now_ms, "host": "here", "pid": 1, "started_at": now_ms}
    return {**plain, **numbers, "details": {}}


def found(settings: Settings, clock: Callable[[], float] = time.time) -> list[Finding]:
    return list(examine(settings, clock=clock))


def of_state(findings: list[Finding], *states: State) -> list[Finding]:
    return [finding for finding in findings if finding.state in states]


def the(findings: list[Finding], text: str) -> Finding:
    """The one finding that says something."""
    (one,) = [finding for finding in findings if text in finding.what]
    return one


def configure(settings: Settings, topic: str, **values: str) -> None:
    entries = [
        ConfigEntry(key.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
        for key, value in values.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    admin.incremental_alter_configs([resource])[resource].result(30)


def test_nothing_is_wrong_with_what_was_just_applied(settings: Settings) -> None:
    findings = found(settings)
    assert of_state(findings, State.WRONG) == []
    # Nobody is in the groups, and no Grafana is named; the disk is this machine's own.
    looks = [finding for finding in of_state(findings, State.LOOK) if "disk" not in finding.what]
    assert {finding.part for finding in looks} <= {"Groups"}
    assert [finding.part for finding in of_state(findings, State.UNKNOWN)] == ["Grafana"]
    assert {finding.part for finding in of_state(findings, State.OK)} == {
        *("Kafka", "Topics", "ClickHouse", "Contracts", "Processors", "Clocks")
    }
    assert the(findings, "Transactions begin and commit").state is State.OK
    agreeing = [finding for finding in findings if "agrees with this machine's" in finding.what]
    assert [finding.state for finding in agreeing] == [State.OK] * 2
    assert not any(finding.todo for finding in of_state(findings, State.OK))
    # The topic of its own is gone again.
    topics = AdminClient({"bootstrap.servers": settings.bootstrap_servers}).list_topics(timeout=10).topics
    assert not [name for name in topics if name.startswith(f"{settings.topic_prefix}doctor-")]


def test_the_command_tells_people_and_programs_and_by_its_exit_code(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "barograph.toml"
    address = settings.warehouse
    config.write_text(
        f'bootstrap_servers = "{settings.bootstrap_servers}"\ntopic_prefix = "{settings.topic_prefix}"\n'
        "predictions_partitions = 2\nlabels_partitions = 1\nparts_partitions = 2\n"
        f'[clickhouse]\nhost = "{address.host}"\nport = {address.port}\ndatabase = "{address.database}"\n'
    )

    def run(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(["doctor", "--config", str(config), *words])
        said = capsys.readouterr()
        assert "Traceback" not in said.err + said.out
        return int(ended.value.code or 0), said.out

    code, out = run()
    assert code == EXIT_OK
    assert "Nothing is wrong; " in out
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    admin.delete_topics([settings.topics.labels])[settings.topics.labels].result(30)
    code, out = run("--format", "json")
    assert code == EXIT_FAILED
    (wrong,) = [finding for finding in json.loads(out) if finding["state"] == "wrong"]
    assert wrong == {
        "part": "Topics",
        "state": "wrong",
        "what": f"The topic {settings.topics.labels} is missing.",
        "todo": "Run `barograph apply`.",
    }


# ---------------------------------------------------------------------------------------------------------- Kafka


def test_settings_of_topics_that_cost_results_are_named_each(settings: Settings) -> None:
    topics = settings.topics
    configure(settings, topics.predictions, message_timestamp_type="CreateTime", retention_ms="600000")
    configure(settings, topics.partials, cleanup_policy="compact", retention_ms="7200000")
    configure(settings, topics.labels, retention_bytes="1000000", unclean_leader_election_enable="true")
    findings = found(settings)
    wrong = [finding.what for finding in of_state(findings, State.WRONG)]
    assert [text.partition(":")[0] for text in wrong] == [
        f"The topic {topics.predictions} has message.timestamp.type=CreateTime and needs LogAppendTime",
        f"The topic {topics.predictions} is kept for 0.167 h",
        f"The topic {topics.labels} lets a copy that is behind lead",
        f"The topic {topics.partials} has cleanup.policy=compact and needs delete",
    ]
    assert the(findings, f"{topics.partials} is kept for 2 h").state is State.LOOK
    assert the(findings, f"{topics.labels} is kept up to 1000000 bytes").state is State.LOOK
    assert all(finding.todo for finding in of_state(findings, State.WRONG, State.LOOK))


def test_partitions_that_are_not_what_was_applied(settings: Settings) -> None:
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    admin.create_partitions([NewPartitions(settings.topics.partials, 3)])[settings.topics.partials].result(30)
    findings = found(dataclasses.replace(settings, predictions_partitions=4))
    assert [finding.part for finding in of_state(findings, State.WRONG)] == ["Topics"]
    assert "delete the topic" in the(findings, "has 3 partitions and should have 2").todo
    more = the(findings, "has 2 partitions, the settings ask for 4")
    assert (more.state, more.todo) == (State.LOOK, "Run `barograph apply`.")


def test_a_group_that_retention_overtook(settings: Settings) -> None:
    from tests.support.pipeline import Pipeline

    pipeline = Pipeline(settings.bootstrap_servers, settings.warehouse, settings.topic_prefix, Path())
    pipeline.produce((0, b"{", None) for _ in range(10))
    group = f"{settings.topic_prefix}sketcher"
    consumer = Consumer({"bootstrap.servers": settings.bootstrap_servers, "group.id": group})
    consumer.commit(offsets=[TopicPartition(settings.topics.predictions, 0, 3)], asynchronous=False)
    consumer.close()
    assert "No sketcher is in the group" in the(found(settings), f"{group}; 7 messages wait").what
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    admin.delete_records([TopicPartition(settings.topics.predictions, 0, 8)])
    for future in admin.delete_records([TopicPartition(settings.topics.predictions, 0, 8)]).values():
        future.result(30)
    finding = the(found(settings), "5 offsets were deleted before they were read")
    assert finding.state is State.WRONG


def test_configuration_of_brokers_that_costs_results() -> None:
    """A broker of a test's own would have to be started for each of these."""
    good = {"transaction.max.timeout.ms": "900000", "offsets.retention.minutes": "527040"}
    assert list(_configured(good, 1, [], 60.0)) == []
    bad = {
        "transaction.max.timeout.ms": "30000",
        "transaction.state.log.replication.factor": "3",
        "offsets.topic.replication.factor": "3",
        "offsets.retention.minutes": "60",
        "auto.create.topics.enable": "true",
    }
    states = [finding.state for finding in _configured(bad, 1, ["__consumer_offsets"], 60.0)]
    assert states == [State.WRONG, State.WRONG, State.LOOK, State.LOOK]


# ----------------------------------------------------------------------------------------------------- ClickHouse


def test_migrations_that_have_not_run_and_one_that_was_changed(settings: Settings) -> None:
    with connect(settings.warehouse) as client:
        last = client.rows("SELECT max(number) FROM migrations")[0][0]
        client.command(f"DELETE FROM migrations WHERE number = {last}")
    finding = the(found(settings), "1 migrations have not run")
    assert (finding.state, finding.todo) == (State.WRONG, "Run `barograph apply`.")
    with connect(settings.warehouse) as client:
        client.command(
            "INSERT INTO migrations (number, name, checksum, state, step) "
            "VALUES (9999, 'of_the_future', '', 'completed', 2)"
        )
    finding = the(found(settings), "update the program")
    assert finding.state is State.WRONG


class Guard(BaseHTTPRequestHandler):
    """The engine, as ClickHouse has it for a user who may read everything and write to no table but one."""

    engine = ""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if b"INSERT INTO" in body and b"INSERT INTO panes" not in body:
            code, text = 403, b"Code: 497. DB::Exception: reader: Not enough privileges. (ACCESS_DENIED)"
            self.send_response(code)
            self.send_header("X-ClickHouse-Exception-Code", "497")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)
            return
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
        with urlopen(Request(f"{self.engine}{self.path}", body, headers, method="POST")) as answer:
            found = answer.read()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                    self.send_header(name, value)
        self.send_header("Content-Length", str(len(found)))
        self.end_headers()
        self.wfile.write(found)

    def log_message(self, *_: object) -> None:
        pass


def test_a_right_that_is_missing_is_named_with_the_tables(settings: Settings) -> None:
    address = settings.warehouse
    handler = type("Guarded", (Guard,), {"engine": f"http://{address.host}:{address.port}"})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as guard:
        threading.Thread(target=guard.serve_forever, daemon=True).start()
        guarded = dataclasses.replace(address, host="127.0.0.1", port=guard.server_address[1])
        findings = found(dataclasses.replace(settings, warehouse=guarded))
        guard.shutdown()
    (wrong,) = of_state(findings, State.WRONG)
    assert wrong.what.startswith("This user may not write (the right is missing): ")
    named = wrong.what.partition(": ")[2]
    assert "drift" in named
    assert "panes" not in named
    assert f"Grant SELECT and INSERT on {address.database}.*" in wrong.todo


def test_contracts_and_baselines_that_cannot_be_read_or_do_not_fit(settings: Settings) -> None:
    def contract(model: str, yaml: str) -> dict[str, object]:
        return {"model": model, "contract_id": model, "yaml": yaml, "applied_at": 1}

    with connect(settings.warehouse) as client:
        bare = dump_contract(simple_contract(model="bare"))
        insert_rows(client, "contracts", [contract("torn", "model: ["), contract("bare", bare)])
        insert_rows(
            client,
            "baselines",
            [
                {
                    **{"model": "toy", "version": "2", "baseline_id": "b", "effective_from": 0, "body": "{"},
                    **{"reason": "", "accepted_at": 1},
                }
            ],
        )
    findings = found(settings)
    wrong = [finding.what for finding in of_state(findings, State.WRONG)]
    assert len(wrong) == 2
    assert wrong[0].startswith("The contract of torn in force cannot be read: ")
    assert wrong[1].startswith("The baseline of toy 2 cannot be read: ")
    assert the(findings, "Model bare has no baseline").state is State.LOOK


def test_processors_that_are_silent_or_never_came(settings: Settings) -> None:
    with connect(settings.warehouse) as client:
        client.command("TRUNCATE TABLE processors")
        insert_rows(client, "processors", [report("sketcher", 0), report("monitor", 100)])
    findings = [finding for finding in found(settings) if finding.part == "Processors"]
    assert [finding.state for finding in findings] == [State.OK, State.LOOK, State.LOOK, State.LOOK]
    assert findings[1].what == "No recorder has reported."
    assert findings[2].what.startswith("No monitor reports; monitor-1 on here did 10")
    assert "--instance monitor-1" in findings[2].todo


# ---------------------------------------------------------------------------------------------------------- clocks


def test_a_clock_that_is_wrong_is_said_of_both_servers(settings: Settings) -> None:
    findings = found(settings, clock=lambda: time.time() + 3600)
    wrong = of_state(findings, State.WRONG)
    assert {finding.part for finding in wrong} == {"Clocks"}
    assert [finding.what.split(" is ")[1].split(" this")[0] for finding in wrong] == ["3,600.0 s behind"] * 2
    assert all("NTP" in finding.todo for finding in wrong)


@pytest.mark.parametrize(
    ("told_s", "before_s", "after_s", "state"),
    [
        (1000.5, 1000, 1001, State.OK),
        (1001.4, 1000, 1001, State.OK),
        (1003, 1000, 1001, State.LOOK),
        (998, 1000, 1001, State.LOOK),
        (1020, 1000, 1001, State.WRONG),
        (980, 1000, 1001, State.WRONG),
        # An answer that took so long tells little.
        (1020, 1000, 1040, State.OK),
    ],
)
def test_a_clock_is_judged_by_what_is_sure(told_s: float, before_s: float, after_s: float, state: State) -> None:
    assert _judged("It", told_s, before_s, after_s).state is state


# ---------------------------------------------------------------------------------------------------------- Grafana


@pytest.fixture
def grafana(monkeypatch: pytest.MonkeyPatch) -> Iterator[StubGrafana]:
    monkeypatch.setenv("ALERTS_WEBHOOK_URL", "https://alerts.example.com/hook")
    with serving() as stub:
        yield stub


def test_a_grafana_that_holds_nothing_yet_and_one_that_was_applied(settings: Settings, grafana: StubGrafana) -> None:
    named = dataclasses.replace(settings, grafana=grafana.settings())
    findings = [finding for finding in found(named) if finding.part == "Grafana"]
    assert [finding.state for finding in findings] == [State.OK, State.LOOK]
    assert "does not hold what is in force" in findings[1].what
    apply_all(named, [], [])
    findings = [finding for finding in found(named) if finding.part == "Grafana"]
    assert [finding.state for finding in findings] == [State.OK, State.OK]


def test_a_grafana_that_refuses_or_is_not_there(
    settings: Settings, grafana: StubGrafana, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = dataclasses.replace(settings, grafana=grafana.settings(token="glsa_another"))
    (refused,) = [finding for finding in found(named) if finding.part == "Grafana"]
    assert refused.state is State.WRONG
    assert "token" in refused.what
    assert "glsa_another" not in refused.what
    named = dataclasses.replace(settings, grafana=grafana.settings(url=f"http://127.0.0.1:{unused_port()}"))
    (away,) = [finding for finding in found(named) if finding.part == "Grafana"]
    assert away.state is State.WRONG
    monkeypatch.delenv("ALERTS_WEBHOOK_URL")
    (unset,) = [finding for finding in found(named) if finding.part == "Grafana"]
    assert "ALERTS_WEBHOOK_URL" in unset.what


# ------------------------------------------------------------------------------------------------------ unreachable


def unused_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_what_does_not_answer_is_one_line_each_and_the_rest_is_looked_at(settings: Settings) -> None:
    away = f"127.0.0.1:{unused_port()}"
    findings = found(dataclasses.replace(settings, bootstrap_servers=away))
    (wrong,) = of_state(findings, State.WRONG)
    assert wrong.part == "Kafka"
    assert away in wrong.what
    assert "Check bootstrap_servers and that the broker runs." in wrong.what
    assert {"ClickHouse", "Contracts", "Clocks"} <= {finding.part for finding in of_state(findings, State.OK)}
    nowhere = Address("127.0.0.1", unused_port(), settings.warehouse.database)
    findings = found(dataclasses.replace(settings, warehouse=nowhere))
    (wrong,) = of_state(findings, State.WRONG)
    assert wrong.part == "ClickHouse"
    assert "could not be reached" in wrong.what
    assert {"Kafka", "Topics", "Clocks"} == {finding.part for finding in of_state(findings, State.OK)}
    findings = found(dataclasses.replace(settings, bootstrap_servers=away, warehouse=nowhere))
    assert [(finding.part, finding.state) for finding in findings] == [
        ("ClickHouse", State.WRONG),
        ("Kafka", State.WRONG),
        ("Grafana", State.UNKNOWN),
    ]


def test_a_database_that_is_missing_is_said(settings: Settings) -> None:
    missing = dataclasses.replace(settings.warehouse, database="nobody_made_this")
    (wrong,) = of_state(found(dataclasses.replace(settings, warehouse=missing)), State.WRONG)
    assert "has no database 'nobody_made_this'. Run `barograph apply`" in wrong.what
