"""What every demo does: starts the local stack and the processors, sends events, and stays until a signal."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

from barograph.contract import Contract
from barograph.contract.file import dump_contract
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from barograph_server.errors import CommandError
from barograph_server.examples.demo.findings import Findings, heading, paragraph
from barograph_server.local.language_model import LocalLanguageModel
from barograph_server.local.stack import LocalStack, StackAddresses
from barograph_server.operations.dev.page import open_page, page_address
from barograph_server.operations.dev.processors import KINDS, Processor, write_settings
from barograph_server.operations.dev.supervisor import Supervisor
from barograph_server.profiling.infer import InferResult, WrittenFiles
from barograph_server.provisioning import apply_all
from barograph_server.provisioning.files import read_baselines
from barograph_server.settings import Settings
from barograph_server.terminal import Terminal
from barograph_server.warehouse.client import Client, connect

POLL_S = 1.0
"""How often processors poll contracts and baselines."""
PACES = {"flush_s": 1.0, "write_s": 2.0, "score_s": 5.0, "report_s": 1.0, "registry_poll_s": POLL_S}
"""Short intervals, because the replay takes a minute: verdicts and progress appear every second."""
TIMEOUT_S = 30.0


def database_of(demo: str) -> str:
    """Return the database of a demo, so that the data of the others and of `barograph dev` stay."""
    return f"barograph_{demo.replace('-', '_')}"


def fresh_settings(
    addresses: StackAddresses, demo: str = "demo", clock: Literal["replay", "live"] = "replay"
) -> Settings:
    """Settings of one run; its topic names differ from those of earlier runs."""
    run = datetime.now(UTC).strftime("%Y%m%dt%H%M%S")
    return Settings(
        bootstrap_servers=addresses.bootstrap_servers,
        warehouse=addresses.clickhouse(database_of(demo)),
        topic_prefix=f"{demo}-{run}-",
        # A pane is sealed when every partition has later events, and a day of flights is one or two messages. With more
        # partitions, one of them would be weeks behind at the end of a phase.
        predictions_partitions=1,
        labels_partitions=2,
        partials_partitions=1,
        clock=clock,
        processor_overrides=PACES,
    )


def wipe(addresses: StackAddresses, demo: str = "demo") -> None:
    """Delete the database and topics of earlier runs of one demo."""
    with connect(addresses.clickhouse("default")) as client:
        client.command(f"DROP DATABASE IF EXISTS {database_of(demo)} SYNC")
    admin = AdminClient({"bootstrap.servers": addresses.bootstrap_servers, "log_level": 2})
    try:
        old = [name for name in admin.list_topics(timeout=TIMEOUT_S).topics if name.startswith(f"{demo}-")]
        for done in admin.delete_topics(old, operation_timeout=TIMEOUT_S).values() if old else ():
            done.result(TIMEOUT_S)
    except KafkaException:
        # Old topics only cost disk space: this run uses other names.
        return


STUCK_S = 300.0
"""Time without progress after which a demo fails; a busy machine needs a minute."""
LINE_EVERY_S = 5.0
COMMAND = ".venv/bin/barograph"
STOP_S = 30.0

Prepared = TypeVar("Prepared")
Progress = TypeVar("Progress")


class DemoError(CommandError):
    """The demo cannot continue; the text says what to do."""


class Demo(ABC):
    """One run of a demo, from an empty folder to its findings."""

    name: ClassVar[str]
    """Name of its folder, and part of the names of its database and topics."""
    findings: ClassVar[str]
    clock: ClassVar[Literal["replay", "live"]] = "replay"
    """How processors measure time."""
    record_end: datetime
    """End of its events, which the dashboards show."""

    def __init__(self, root: Path | None, terminal: Terminal, stack: ExitStack) -> None:
        """Describe a run without starting anything.

        Args:
            root: the folder of the local stack, by default that of `barograph dev`.
            stack: receives everything that must be stopped; the caller closes it.
        """
        self.local = LocalStack(root)
        self.folder = self.local.root / self.name
        self.terminal, self.stack = terminal, stack
        self._began_s = self._line_s = time.monotonic()
        self._children: Supervisor | None = None
        self._settings: Settings | None = None

    @abstractmethod
    def work(self) -> None:
        """Start everything with `start`, send all events, and wait until they are processed.

        Raises:
            DemoError: something makes no progress.
            LocalStackError: Kafka or ClickHouse does not start.
        """

    @abstractmethod
    def measure(self, client: Client, findings: Findings) -> None:
        """Add the facts and the tables of source data that findings are compared with."""

    def run(self) -> bool:
        """Run the demo; return whether all expectations hold."""
        self.work()
        with connect(self.settings.warehouse) as client:
            findings = Findings(client, self.findings)
            self.measure(client, findings)
            findings.show(self.terminal, self.command)
            are_met = findings.check(self.terminal)
        heading(self.terminal, f"All of it took {time.monotonic() - self._began_s:.0f} s.")
        return are_met

    def stay(self) -> None:
        """Keep everything running until a signal, and print next steps."""
        addresses, database = self.local.addresses, self.settings.warehouse.database
        page = self.stack.enter_context(open_page(self.settings, addresses.clickhouse_reader(database), None))
        heading(self.terminal, "Dashboards and alerts in your browser")
        self.terminal.line(f"  {page_address(page.url, self.record_end)}")
        heading(self.terminal, "Next, in another terminal")
        for command in ("status", "simulate --since 150d", 'query "SHOW TABLES"', "baseline list"):
            self.terminal.line(f"  {self.command} {command}")
        self.terminal.line(
            f"  {COMMAND} infer YOUR.parquet --model NAME --version 1 --time COLUMN    # for your own table"
        )
        self.terminal.line(f"  ls {self.folder}    # the contract: edit it, then `apply`")
        heading(
            self.terminal,
            f"Everything keeps running: Kafka on {addresses.bootstrap_servers}, ClickHouse on "
            f"{addresses.clickhouse_url}, logs in {self.local.log_dir}. Ctrl-C stops it; the data stay.",
        )
        try:
            while True:
                self.supervisor.poll()
                time.sleep(POLL_S)
        except KeyboardInterrupt:
            self.terminal.line("Stopping the processors, Kafka and ClickHouse.")

    def leave(self) -> None:
        """Say how to keep everything running; the owner of the stack stops it."""
        heading(
            self.terminal,
            "Everything stops now. Leave out EXIT=1 or --exit to keep it running, and to run the queries.",
        )

    @property
    def settings(self) -> Settings:
        """The settings of the run, once it has started."""
        assert self._settings is not None
        return self._settings

    @property
    def supervisor(self) -> Supervisor:
        """The processors, once they have started."""
        assert self._children is not None
        return self._children

    @property
    def command(self) -> str:
        """Start of commands that use the demo's database."""
        return f"BAROGRAPH_CLICKHOUSE_DATABASE={self.settings.warehouse.database} {COMMAND}"

    # ------------------------------------------------------------------------------------------ steps

    def say(self, title: str, text: str = "") -> None:
        """Say what is done next, or what was done."""
        heading(self.terminal, f"{time.monotonic() - self._began_s:4.0f} s  {title}")
        if text:
            paragraph(self.terminal, text)

    def start(self, prepare: Callable[[], Prepared]) -> Prepared:
        """Start an empty stack, and prepare something meanwhile."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(1) as pool:
            starting = pool.submit(self._start_stack)
            prepared = prepare()
            self._settings = starting.result()
        return prepared

    def _start_stack(self) -> Settings:
        self.local.start()
        self.stack.callback(self.local.stop)
        wipe(self.local.addresses, self.name)
        return fresh_settings(self.local.addresses, self.name, self.clock)

    def start_model(self) -> LocalLanguageModel:
        model = LocalLanguageModel(self.local.root / "language-model", log_dir=self.local.log_dir)
        model.start()
        self.stack.callback(model.stop)
        return model

    def apply(self, contract: Contract, result: InferResult, reason: str = "the demo") -> WrittenFiles:
        """Write and apply a contract with an inferred baseline."""
        # The folder belongs to the demo, so files of an older run can be overwritten.
        written = result.write_contract(self.folder, force=True)
        text = dump_contract(contract)
        written.contract.write_text(text, encoding="utf-8")
        plan = apply_all(self.settings, [(contract, text)], read_baselines([written.baseline]), reason=reason)
        paragraph(
            self.terminal,
            f"{result.baseline.rows:,} rows → {len(result.baseline.fields)} fields, "
            f"{sum(field.critical for field in contract.fields)} of them critical; baseline "
            f"{', '.join(each.baseline_id for each in plan.baselines)}, database {self.settings.warehouse.database}, "
            f"topics {self.settings.topic_prefix}…",
        )
        return written

    def start_processors(self, kinds: Sequence[str] = KINDS, variables: Mapping[str, str] | None = None) -> None:
        """Start processors, of kinds as in `barograph run`, as child processes."""
        path, password = self.folder / "processors.toml", self.settings.warehouse.password
        write_settings(path, self.settings)
        run_dir, log_dir = self.local.root / "run", self.local.log_dir
        children = [
            Processor(kind, path, password, run_dir=run_dir, log_dir=log_dir, variables=variables) for kind in kinds
        ]
        self._children = Supervisor(children, self.terminal.line)
        self.stack.callback(self._children.stop, STOP_S)
        self._children.start()

    def wait(
        self,
        what: str,
        measure: Callable[[], Progress],
        is_done: Callable[[Progress], bool],
        shown: Callable[[Progress], str] = str,
    ) -> Progress:
        """Measure progress until it is done, and print it every few seconds."""
        progress, moved_s = measure(), time.monotonic()
        while not is_done(progress):
            self.supervisor.poll()
            time.sleep(POLL_S)
            before, progress, now_s = progress, measure(), time.monotonic()
            if progress != before:
                moved_s = now_s
            elif now_s - moved_s > STUCK_S:
                stuck = f"No progress for {STUCK_S:.0f} s ({what}): {shown(progress)}"
                raise DemoError(f"{stuck}. See the logs in {self.local.log_dir}.")
            if now_s - self._line_s >= LINE_EVERY_S:
                self._line_s = now_s
                self.terminal.line(f"  {shown(progress)}")
        return progress

    def wait_for(self, what: str, count: Callable[[], int], goal: int) -> None:
        self.wait(what, count, lambda n: n >= goal, lambda n: f"{what}: {n:,} of {goal:,}")
