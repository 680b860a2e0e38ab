"""`barograph dev` as a newcomer runs it: start, use, a crash, one Ctrl-C, another start."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from barograph.contract.file import dump_contract

from dashboards.uids import DASHBOARDS
from local.child_process import started_at
from local.kafka import LocalKafka
from sketches.baseline.baseline import dump_baseline
from tests.support.pipeline import simple_baseline, simple_contract, wait_for
from warehouse.client import Address, connect

KINDS = ("sketcher", "recorder", "monitor", "scorer")


class Dev:
    """The command in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said_path = folder / "said.txt"
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("BAROGRAPH_")}
        if "BAROGRAPH_CACHE" in os.environ:
            self.environ["BAROGRAPH_CACHE"] = os.environ["BAROGRAPH_CACHE"]
        # What production's settings would do: the local stack must not follow them.
        self.environ["BAROGRAPH_BOOTSTRAP_SERVERS"] = "kafka.production:9092"
        self.environ["BAROGRAPH_KAFKA_SECURITY_PROTOCOL"] = "SASL_SSL"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *words: str) -> None:
        self.said_path.write_text("")
        with self.said_path.open("ab") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", "dev", *words],
                cwd=self.folder,
                env={**self.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        self.wait_said("Ctrl-C ends everything.")

    @property
    def said(self) -> str:
        return self.said_path.read_text()

    def wait_said(self, text: str) -> None:
        process = self.process
        assert process is not None
        wait_for(lambda: text in self.said or process.poll() is not None, f"{text!r} in what it says: {self.said}")
        assert text in self.said, self.said

    def pid(self, kind: str) -> int:
        pid, start = (self.folder / ".barograph" / "run" / f"{kind}.pid").read_text().split()
        return int(pid) if started_at(int(pid)) == start else 0

    def address(self) -> Address:
        (line,) = [line for line in self.said.splitlines() if line.startswith("ClickHouse")]
        return Address(port=int(line.split()[1].rpartition(":")[2]), database=line.split()[-1])

    def interrupt(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(90)


@pytest.fixture
def dev(broker: LocalKafka, tmp_path: Path) -> Iterator[Dev]:
    """A folder with a contract; `broker` makes sure that the parts of the stack are to be had."""
    contract = simple_contract()
    folder = tmp_path / "contracts"
    folder.mkdir()
    (folder / "toy.yaml").write_text(dump_contract(contract))
    (folder / "toy.1.baseline.json").write_bytes(dump_baseline(simple_baseline(rows=500)))
    dev = Dev(tmp_path)
    yield dev
    if dev.process is not None and dev.process.poll() is None:
        dev.interrupt()


@pytest.mark.slow
def test_one_command_starts_all_restarts_what_dies_and_one_ctrl_c_ends_it(dev: Dev) -> None:
    dev.start()
    assert "Applied: toy." in dev.said
    assert str(dev.folder / ".barograph" / "logs") in dev.said

    def reporting() -> bool:
        with connect(dev.address()) as client:
            return {kind for (kind,) in client.rows("SELECT kind FROM pipeline")} == set(KINDS)

    wait_for(reporting, "every processor to report")
    (page,) = [line.split()[1] for line in dev.said.splitlines() if line.startswith("Dashboards")]
    with urllib.request.urlopen(page + "api/pages") as answer:
        assert [each["uid"] for each in json.load(answer)] == [*DASHBOARDS.values()]
    killed = dev.pid("sketcher")
    os.kill(killed, signal.SIGKILL)
    dev.wait_said("sketcher was started again.")
    assert "sketcher was killed by signal 9" in dev.said
    assert str(dev.folder / ".barograph" / "logs" / "sketcher.log") in dev.said
    pids = [dev.pid(kind) for kind in KINDS]
    assert all(pids)
    assert killed not in pids
    status = subprocess.run(
        [sys.executable, "-m", "cli.main", "status"],
        cwd=dev.folder,
        env={
            **{name: value for name, value in dev.environ.items() if not name.startswith("BAROGRAPH_")},
            "PYTHONPATH": str(Path(__file__).parents[2]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert status.returncode == 0, status.stderr
    assert "toy" in status.stdout
    assert "monitor" in status.stdout
    assert dev.interrupt() == 0
    assert dev.said.splitlines()[-3:] == [
        "Ending the processors.",
        "Ending Kafka and ClickHouse.",
        "All has ended; the data stays for the next run.",
    ]
    assert not any(started_at(pid) for pid in pids)
    dev.start("--reset")
    assert "was deleted." in dev.said
    assert "Applied: toy." in dev.said
    assert dev.interrupt() == 0
