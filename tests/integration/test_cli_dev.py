"""`barograph dev`: start, use, a crash of a processor, one Ctrl-C, another start."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from barograph.contract.file import dump_contract

from barograph_server.dashboards.uids import DASHBOARDS
from barograph_server.local.child_process import started_at
from barograph_server.local.credentials import read_passwords
from barograph_server.local.kafka import LocalKafka
from barograph_server.sketches.baseline.baseline import dump_baseline
from barograph_server.warehouse.client import Address, connect
from tests.support.http import request
from tests.support.pipeline import simple_baseline, simple_contract, wait_for

KINDS = ("sketcher", "recorder", "monitor", "scorer")


class Dev:
    """The command in a temporary folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output_path = folder / "output.txt"
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("BAROGRAPH_")}
        self.environ["PYTHONPATH"] = str(Path(__file__).parents[2])
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *words: str) -> None:
        self.output_path.write_text("")
        with self.output_path.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "barograph_server.cli.main", "dev", *words],
                cwd=self.folder,
                # Settings of production, which the local stack must ignore.
                env={
                    **{name: value for name, value in os.environ.items() if name == "BAROGRAPH_CACHE"},
                    **self.environ,
                    "BAROGRAPH_BOOTSTRAP_SERVERS": "kafka.production:9092",
                    "BAROGRAPH_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
                },
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
    contract = simple_contract()
    folder = tmp_path / "contracts"
    folder.mkdir()
    (folder / "toy.yaml").write_text(dump_contract(contract))
    (folder / "toy.1.baseline.json").write_bytes(dump_baseline(simple_baseline(rows=500)))
    dev = Dev(tmp_path)
    yield dev
    if dev.process is not None and dev.process.poll() is None:
        dev.interrupt()


@pytest.mark.long
def test_dev_starts_everything_restarts_a_processor_and_stops_on_ctrl_c(dev: Dev) -> None:
    dev.start()
    assert "Applied: toy." in dev.output
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
    status = subprocess.run(
        [sys.executable, "-m", "barograph_server.cli.main", "status"],
        cwd=dev.folder,
        env=dev.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert status.returncode == 0, status.stderr
    assert "toy" in status.stdout
    assert "monitor" in status.stdout
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
