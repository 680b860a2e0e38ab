"""What every demo does: starts the local stack and the processors, replays events, and stays until a signal."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Literal

import pyarrow as pa
from barograph import Publisher
from barograph.contract import Contract
from barograph.contract.file import dump_contract

from barograph_server.examples.demo.errors import DemoError
from barograph_server.examples.demo.flights import MODEL, VERSION
from barograph_server.examples.demo.fresh_start import DemoNames, fresh_settings, wipe
from barograph_server.examples.demo.phases import PhasedReplay
from barograph_server.examples.demo.progress_board import ProgressBoard
from barograph_server.examples.demo.replay import replay
from barograph_server.examples.demo.report import DemoReport
from barograph_server.examples.demo.stage_counts import stage_counts
from barograph_server.local.stack import LocalStack
from barograph_server.operations.dev.page import open_page, page_address
from barograph_server.operations.dev.processors import KINDS, Processor, write_settings
from barograph_server.operations.dev.supervisor import Supervisor
from barograph_server.profiling.infer import WrittenFiles
from barograph_server.provisioning import apply_all
from barograph_server.provisioning.files import read_baselines
from barograph_server.settings import Settings
from barograph_server.streams.monitor.state.store import WarehouseStore
from barograph_server.terminal import Terminal
from barograph_server.warehouse.client import connect

POLL_PROGRESS_S = 1.0
STUCK_S = 120.0
"""Time without progress after which the demo fails; a busy machine needs seconds."""
STOP_S = 30.0


class DemoRun(ABC):
    """One run of a demo, from an empty folder to its findings."""

    _clock: ClassVar[Literal["replay", "live"]] = "replay"
    """How processors measure time."""

    def __init__(self, root: Path | None, terminal: Terminal, stack: ExitStack, names: DemoNames) -> None:
        """Describe a run without starting anything.

        Args:
            root: the folder of the local stack, by default that of `barograph dev`.
            terminal: the output.
            stack: receives everything that must be stopped; the caller closes it.
            names: the demo's database, topics and folder.
        """
        self._local = LocalStack(root)
        self._names = names
        self._folder = self._local.root / names.folder
        self._terminal, self._stack = terminal, stack
        self._report = DemoReport(terminal, names)
        self._times_s: dict[str, float] = {}
        self._supervisor: Supervisor | None = None
        self._settings: Settings | None = None
        self._record_end: datetime | None = None

    @abstractmethod
    def run(self) -> bool:
        """Run the demo; return whether all expectations hold.

        Raises:
            DemoError: the replay makes no progress.
            LocalStackError: Kafka or ClickHouse does not start.
            DemoDataMissingError: the flights are not installed.
        """

    def stay(self) -> None:
        """Keep everything running until a signal, and print next steps."""
        assert self._supervisor is not None
        assert self._settings is not None
        assert self._record_end is not None
        reader = self._local.addresses.clickhouse_reader(self._settings.warehouse.database)
        page = self._stack.enter_context(open_page(self._settings, reader, None))
        shown = page_address(page.url, self._record_end)
        self._report.next_steps(self._folder, self._local.addresses, self._local.log_dir, shown)
        try:
            while True:
                self._supervisor.poll()
                time.sleep(POLL_PROGRESS_S)
        except KeyboardInterrupt:
            self._report.line("Stopping the processors, Kafka and ClickHouse.")

    def leave(self) -> None:
        """Report that everything stops; the owner of the stack stops it."""
        self._report.ended()

    # ------------------------------------------------------------------------------------------ steps

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        began_s = time.monotonic()
        yield
        self._times_s[name] = time.monotonic() - began_s

    def _start_stack(self) -> Settings:
        with self._timed("stack"):
            self._local.start()
            self._stack.callback(self._local.stop)
            wipe(self._local.addresses, self._names)
        return fresh_settings(self._local.addresses, self._names, self._clock)

    def _apply(self, settings: Settings, written: WrittenFiles, contract: Contract) -> None:
        """Apply the contract and the first baseline, and save the contract."""
        text = dump_contract(contract)
        written.contract.write_text(text, encoding="utf-8")
        with self._timed("apply"):
            plan = apply_all(settings, [(contract, text)], read_baselines([written.baseline]), reason="the demo")
        self._report.applied(plan, settings)

    def _start_processors(
        self, settings: Settings, kinds: Sequence[str] = KINDS, variables: Mapping[str, str] | None = None
    ) -> None:
        """Start processors as child processes.

        Args:
            settings: of the run.
            kinds: as `barograph run` names them.
            variables: further variables of their environment.
        """
        settings_path = self._folder / "processors.toml"
        write_settings(settings_path, settings)
        run_dir = self._local.root / "run"
        password, log_dir = settings.warehouse.password, self._local.log_dir
        children = [
            Processor(kind, settings_path, password, run_dir=run_dir, log_dir=log_dir, variables=variables)
            for kind in kinds
        ]
        self._supervisor = Supervisor(children, self._report.line)
        self._stack.callback(self._supervisor.stop, STOP_S)
        self._supervisor.start()

    # ------------------------------------------------------------------------------------------ replay

    def _replay(
        self,
        settings: Settings,
        contract: Path,
        predictions: pa.Table,
        labels: pa.Table,
        stage: PhasedReplay,
        totals: Mapping[str, int],
        shadows: pa.Table | None = None,
    ) -> tuple[int, int]:
        """Publish, and wait until all events have passed all stages; return the published counts.

        Args:
            settings: the settings of the run.
            contract: the contract file.
            predictions: the primary's predictions, in order of `at`.
            labels: the labels, in order of `at`.
            stage: the phases of the replay.
            totals: number of events per stage, by name, in pipeline order.
            shadows: the candidate's predictions, in order of `at`; None without a candidate.
        """
        publisher = Publisher.from_contract(
            contract,
            version=VERSION,
            bootstrap_servers=settings.bootstrap_servers,
            on_full="wait",
            topic_prefix=settings.topic_prefix,
        )
        with publisher, ThreadPoolExecutor(1) as pool:
            publishing = pool.submit(replay, predictions, labels, publisher, stage.pace, shadows)
            try:
                self._follow(settings, publisher, publishing, stage, totals)
            finally:
                stage.pace.stop()
            return publishing.result()

    def _follow(
        self,
        settings: Settings,
        publisher: Publisher,
        publishing: Future[tuple[int, int]],
        stage: PhasedReplay,
        totals: Mapping[str, int],
    ) -> None:
        assert self._supervisor is not None
        began_s = moved_s = time.monotonic()
        before: dict[str, int] = {}
        with connect(settings.warehouse) as client, ProgressBoard(self._terminal, totals) as board:
            store = WarehouseStore(client)
            while True:
                self._supervisor.poll()
                if publishing.done():
                    publishing.result()
                counts = stage_counts(client, publisher.stats.published)
                counts = {name: count for name, count in counts.items() if name in totals}
                done = {name: count.done for name, count in counts.items()}
                now_s = time.monotonic()
                through = [name for name in totals if done[name] >= totals[name]]
                for name in through:
                    self._times_s.setdefault(name, now_s - began_s)
                ended = publishing.done() and len(through) == len(totals)
                board.show(counts, last=ended)
                if ended:
                    return
                stage.advance(counts, lambda: store.sealed_until_s(MODEL))
                if done != before:
                    before, moved_s = done, now_s
                elif now_s - moved_s > STUCK_S:
                    behind = ", ".join(f"{s} {done[s]:,} of {totals[s]:,}" for s in totals if s not in through)
                    raise DemoError(
                        f"The replay has made no progress for {STUCK_S:.0f} s: {behind}. See the processor logs in "
                        f"{self._local.log_dir}."
                    )
                time.sleep(POLL_PROGRESS_S)
