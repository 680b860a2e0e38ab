"""`barograph dev`, demos, and every command that serves until Ctrl-C."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from barograph.contract import Text
from barograph.contract.evaluators import Evaluator
from barograph.contract.file import dump_contract
from confluent_kafka.admin import AdminClient, NewTopic

from barograph_server.cli.main import COMMANDS, import_command
from barograph_server.cli.run import ProcessorKind
from barograph_server.dashboards.uids import DASHBOARDS
from barograph_server.examples.demo.base import fresh_settings, wipe
from barograph_server.examples.flights.contract import MODEL
from barograph_server.local.child_process import started_at
from barograph_server.local.clickhouse import LocalClickHouse, read_passwords
from barograph_server.local.kafka import LocalKafka
from barograph_server.local.stack import StackAddresses
from barograph_server.provisioning import apply_all
from barograph_server.sketches.baseline.baseline import dump_baseline
from barograph_server.warehouse.client import Address, connect
from tests.support.environment import documented_environment
from tests.support.http import request
from tests.support.pipeline import ROOT, Pipeline, simple_baseline, simple_contract, wait_for

KINDS = ("sketcher", "recorder", "monitor", "scorer")
COMMAND = (sys.executable, "-m", "barograph_server.cli.main")


class Dev:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output_path = folder / "output.txt"
        retained = (name for name in os.environ if name == "BAROGRAPH_CACHE" or not name.startswith("BAROGRAPH_"))
        self.environ = {name: os.environ[name] for name in retained} | {"PYTHONPATH": str(ROOT)}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *words: str) -> None:
        # Settings of production, which the local stack must ignore.
        production = {"BOOTSTRAP_SERVERS": "kafka.production:9092", "KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}
        environ = self.environ | {f"BAROGRAPH_{name}": value for name, value in production.items()}
        with self.output_path.open("wb") as output:
            self.process = subprocess.Popen(
                [*COMMAND, "dev", *words],
                cwd=self.folder,
                env=environ,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.wait_output("Ctrl-C stops everything.")

    @property
    def output(self) -> str:
        return self.output_path.read_text()

    def wait_output(self, text: str) -> None:
        process = self.process
        assert process is not None
        wait_for(lambda: text in self.output or process.poll() is not None, f"{text!r} in its output: {self.output}")
        assert text in self.output, self.output

    def pid(self, kind: str) -> int:
        pid, start = (self.folder / ".barograph" / "run" / f"{kind}.pid").read_text().split()
        return int(pid) if started_at(int(pid)) == start else 0

    def address(self) -> Address:
        (line,) = [line for line in self.output.splitlines() if line.startswith("ClickHouse")]
        password = read_passwords(self.folder / ".barograph" / "clickhouse")["default"]
        return Address(port=int(line.split()[1].rpartition(":")[2]), database=line.split()[-1], password=password)

    def interrupt(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(90)


@pytest.fixture
def dev(broker: LocalKafka, tmp_path: Path) -> Iterator[Dev]:
    """A folder with a contract; `broker` ensures that the servers are downloaded."""
    folder = tmp_path / "contracts"
    folder.mkdir()
    (folder / "toy.yaml").write_text(dump_contract(simple_contract()))
    (folder / "toy.1.baseline.json").write_bytes(dump_baseline(simple_baseline(rows=500)))
    dev = Dev(tmp_path)
    yield dev
    if dev.process is not None and dev.process.poll() is None:
        dev.interrupt()


@pytest.mark.long
def test_dev_starts_everything_restarts_a_processor_and_stops_on_ctrl_c(dev: Dev) -> None:
    dev.start()
    assert "Applied: toy." in dev.output
    assert "First verdict of toy: about " in dev.output
    assert str(dev.folder / ".barograph" / "logs") in dev.output

    def reporting() -> bool:
        with connect(dev.address()) as client:
            return {kind for (kind,) in client.rows("SELECT kind FROM pipeline")} == {*KINDS, "guard"}

    wait_for(reporting, "every processor to report")
    (page,) = [line.split()[1] for line in dev.output.splitlines() if line.startswith("Dashboards")]
    assert [each["uid"] for each in request("GET", page + "api/pages").json()] == [*DASHBOARDS.values()]
    killed = dev.pid("sketcher")
    os.kill(killed, signal.SIGKILL)
    dev.wait_output("sketcher was restarted.")
    assert "sketcher was killed by signal 9" in dev.output
    assert str(dev.folder / ".barograph" / "logs" / "sketcher.log") in dev.output
    pids = [dev.pid(kind) for kind in KINDS]
    assert all(pids)
    assert killed not in pids
    status = subprocess.check_output([*COMMAND, "status"], cwd=dev.folder, env=dev.environ, text=True)
    assert "toy" in status
    assert "monitor" in status
    assert dev.interrupt() == 0
    assert dev.output.splitlines()[-3:] == [
        "Stopping the processors.",
        "Stopping Kafka and ClickHouse.",
        "Everything has stopped; the data persists for the next run.",
    ]
    assert not any(started_at(pid) for pid in pids)
    dev.start("--reset")
    assert "was deleted." in dev.output
    assert "Applied: toy." in dev.output
    assert dev.interrupt() == 0


LINES = {
    **dict.fromkeys((f"run {kind}" for kind in get_args(ProcessorKind)), "started"),
    "changes serve --port 0": "stores changes",
    "review serve --model toy --evaluator cited --as ana": "Review 0 answers",
    "simulate --live": "of 1 model.",
    "dev": "Ctrl-C stops everything.",
}
"""What each prints when it serves."""


@pytest.mark.long
def test_every_command_that_serves_starts_with_the_documented_environment(pipeline: Pipeline, tmp_path: Path) -> None:
    helps: dict[str, str] = {}
    for name in COMMANDS:
        command = import_command(name)
        subcommands = getattr(command, "commands", {})
        helps |= {f"{name} {each}": str(subcommands[each].help) for each in subcommands} or {name: str(command.help)}
    serving = {name for name, text in helps.items() if re.search(r"until\s+(SIGTERM\s+or\s+)?Ctrl-C", text)}
    assert not {name for name in serving if not any(words.startswith(name) for words in LINES)}
    pipeline.create()
    evaluated = simple_contract(text=Text(content="keep", sample=1.0), evaluators={"cited": Evaluator(check="refusal")})
    pipeline.register(evaluated, [simple_baseline()])
    where = {f"clickhouse_{key}": getattr(pipeline.address, key) for key in ("host", "port", "database", "password")}
    where |= {"bootstrap_servers": pipeline.bootstrap, "topic_prefix": pipeline.topics.prefix, "otlp_port": 0}
    where |= {"otlp_grpc_port": 0, "scrape_targets": "[{model: toy, url: http://127.0.0.1:9/metrics}]"}
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **documented_environment(tmp_path)}
    environ |= {f"BAROGRAPH_{name.upper()}": str(value) for name, value in where.items()}
    logs = {words: tmp_path / f"{words}.log" for words in LINES}
    processes = {}
    try:
        for words, path in logs.items():
            with path.open("wb") as log:
                command = [*COMMAND, *words.split()]
                processes[words] = subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=log, stderr=log)
        for words, path in logs.items():
            wait_for(lambda: LINES[words] in path.read_text() or processes[words].poll() is not None, words)  # noqa: B023
        kinds, reports = {*get_args(ProcessorKind)}, "SELECT kind FROM pipeline"
        wait_for(
            lambda: (
                {kind for (kind,) in pipeline.rows(reports)} == kinds
                or any(each.poll() is not None for each in processes.values())
            ),
            "every processor to report",
        )
    finally:
        for process in processes.values():
            process.send_signal(signal.SIGINT)
        ends = {words: process.wait(90) for words, process in processes.items()}
    assert ends == dict.fromkeys(LINES, 0), "\n".join(logs[words].read_text() for words, code in ends.items() if code)


@pytest.fixture
def addresses(broker: LocalKafka, engine: LocalClickHouse) -> Iterator[StackAddresses]:
    result = StackAddresses(broker.bootstrap_servers, engine.port, read_passwords(engine.data_dir))
    yield result
    wipe(result)


def test_each_run_has_topics_of_its_own_and_an_empty_database(addresses: StackAddresses, topic_prefix: str) -> None:
    contract = msgspec.structs.replace(simple_contract(), model=MODEL)
    baseline = msgspec.structs.replace(simple_baseline(100), model=MODEL)
    admin = AdminClient({"bootstrap.servers": addresses.bootstrap_servers})

    def topics(prefix: str) -> set[str]:
        return {name for name in admin.list_topics(timeout=30).topics if name.startswith(prefix)}

    other = f"{topic_prefix}another"
    admin.create_topics([NewTopic(other, 1, 1)])[other].result(30)
    first = fresh_settings(addresses)
    apply_all(first, [(contract, dump_contract(contract))], [baseline])
    wait_for(lambda: topics(first.topic_prefix), "the topics of the first run")
    wipe(addresses)
    wait_for(lambda: not topics("demo-"), "the topics of the first run to go")
    assert topics(other), "topics of others stay"
    with connect(first.warehouse, create=True) as client:
        assert client.rows(f"SHOW TABLES FROM {first.warehouse.database}") == []
    wipe(addresses)  # a first run finds nothing, and that is well
    wait_for(lambda: fresh_settings(addresses).topic_prefix != first.topic_prefix, "the next second")
