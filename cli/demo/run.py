"""The demo from an empty folder to verdicts: what happens in which order."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from barograph import Publisher
from rich.console import Console

from cli.apply import apply_all
from cli.apply.files import read_baselines, read_contracts
from cli.demo.board import Board
from cli.demo.counts import STAGES, stage_counts
from cli.demo.errors import DemoError
from cli.demo.expectations import expectations
from cli.demo.findings import read_findings
from cli.demo.flights import VERSION, Calendar, infer_options, last_pane_end, prepare_flights
from cli.demo.fresh import fresh_settings, wipe
from cli.demo.processes import Processors
from cli.demo.replay import replay
from cli.demo.report import Reporter
from cli.infer import Written, infer, write_result
from cli.settings import Settings, environment
from local.stack import LocalStack
from warehouse.client import connect

if TYPE_CHECKING:
    from examples.flights.replay import FlightsFiles

PACES = {"BAROGRAPH_PROCESSORS_FLUSH_S": "1", "BAROGRAPH_PROCESSORS_WRITE_S": "2", "BAROGRAPH_CLOCK": "replay"}
"""A replay is over in a minute: verdicts every second, and the counts of the board with them."""
LOOK_S = 0.5
STUCK_S = 120.0
"""How long no stage may move before the demo gives up: a busy machine needs seconds."""


class Demo:
    """One run; what it starts ends with `stack`, which the caller closes."""

    def __init__(self, root: Path | None, console: Console, stack: ExitStack) -> None:
        """Describe a run; nothing is started.

        Args:
            root: the folder of the local stack, by default that of `barograph dev`.
            console: where it tells what it does.
            stack: takes what must be ended.
        """
        self._local = LocalStack(root)
        self._folder = self._local.root / "demo"
        self._console, self._stack = console, stack
        self._say = Reporter(console)
        self._times_s: dict[str, float] = {}
        self._processors: Processors | None = None

    def run(self) -> bool:
        """Do all of it; return whether the flights showed what they must."""
        began_s = time.monotonic()
        self._say.heading("Apache Kafka and the ClickHouse engine start, and a model learns")
        with ThreadPoolExecutor(1) as pool:
            starting = pool.submit(self._start_stack)
            try:
                files = self._prepare()
            finally:
                settings = starting.result()
        tables = files.tables
        self._say.paragraph(
            f"A classifier of late arrivals learned from June and July 2013: AUC {tables.out_of_fold.auc:.3f} on weeks "
            f"it had not seen, {tables.held_out.auc:.3f} on August to December, which are replayed "
            f"{tables.shift_weeks} weeks later, the last flight just now. Kafka: {settings.bootstrap_servers}, "
            f"ClickHouse: {self._local.addresses.clickhouse_url}."
        )
        self._say.heading("barograph infer: contract and baseline from the training table")
        written = self._infer(files.train)
        self._say.heading("barograph apply: topics, tables, contract and baseline")
        self._apply(settings, written)

        predictions, labels = pq.read_table(files.predictions), pq.read_table(files.labels)
        calendar = Calendar(tables.shift_weeks)
        self._say.heading(
            f"Replay: {predictions.num_rows:,} predictions and {labels.num_rows:,} labels of August to December 2013"
        )
        self._start_processors(settings)
        published = self._replay(settings, written, predictions, labels)
        with self._timed("queries"), connect(settings.warehouse) as client:
            findings = read_findings(client, calendar, last_pane_end(predictions), *published)
        held = expectations(findings)
        self._say.findings(findings, calendar)
        self._say.expectations(held)
        self._say.times({**self._times_s, "in all": time.monotonic() - began_s})
        return all(each.held for each in held)

    def stay(self, stop: threading.Event) -> None:
        """Keep everything up until `stop` is set.

        Raises:
            DemoError: a processor has ended.
        """
        assert self._processors is not None
        addresses = self._local.addresses
        self._say.next_steps(
            str(_shown(self._folder / "flight-delay.yaml")), str(_shown(self._folder / "train.parquet"))
        )
        self._say.heading(
            f"Everything stays up: Kafka on {addresses.bootstrap_servers}, ClickHouse on {addresses.clickhouse_url}, "
            f"logs in {_shown(self._local.log_dir)}. Ctrl-C ends it; the data stay."
        )
        while not stop.wait(LOOK_S):
            self._processors.check()

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
            wipe(self._local.addresses)
        return fresh_settings(self._local.addresses)

    def _prepare(self) -> FlightsFiles:
        with self._timed("data and model"):
            return prepare_flights(self._folder)

    def _infer(self, train: Path) -> Written:
        with self._timed("infer"):
            result = infer(infer_options(train))
            # The demo's own folder: an older run's files are of no use.
            written = write_result(result, self._folder, force=True)
        self._say.decisions(result)
        return written

    def _apply(self, settings: Settings, written: Written) -> None:
        with self._timed("apply"):
            plan = apply_all(
                settings, read_contracts([written.contract]), read_baselines([written.baseline]), reason="the demo"
            )
        self._say.paragraph(
            f"database {settings.warehouse.database}, {len(plan.migrations)} migrations, {len(plan.topics)} topics "
            f"{settings.topic_prefix}…, {len(plan.contracts)} contract, {len(plan.baselines)} baseline"
        )

    def _start_processors(self, settings: Settings) -> None:
        self._processors = Processors(self._folder, self._local.log_dir, {**environment(settings), **PACES})
        self._stack.callback(self._processors.stop)
        self._processors.start()

    def _replay(self, settings: Settings, written: Written, predictions: pa.Table, labels: pa.Table) -> tuple[int, int]:
        """Publish, and follow the events until all are judged and recorded; return what was published."""
        publisher = Publisher.from_contract(
            written.contract,
            version=VERSION,
            bootstrap_servers=settings.bootstrap_servers,
            on_full="wait",
            topic_prefix=settings.topic_prefix,
        )
        stop = threading.Event()
        with publisher, ThreadPoolExecutor(1) as pool:
            publishing = pool.submit(replay, predictions, labels, publisher, stop)
            try:
                self._follow(settings, publisher, publishing, predictions.num_rows, labels.num_rows)
            finally:
                stop.set()
            return publishing.result()

    def _follow(
        self,
        settings: Settings,
        publisher: Publisher,
        publishing: Future[tuple[int, int]],
        n_predictions: int,
        n_labels: int,
    ) -> None:
        assert self._processors is not None
        both = n_predictions + n_labels
        totals = dict(zip(STAGES, (both, n_predictions, both, n_predictions), strict=True))
        import os  # TMP
        if os.environ.get("NO_RECORDER"):  # TMP
            totals["recorded"] = 0  # TMP
        began_s = moved_s = time.monotonic()
        before: dict[str, int] = {}
        with connect(settings.warehouse) as client, Board(self._console, totals) as board:
            while True:
                self._processors.check()
                if publishing.done():
                    publishing.result()
                counts = stage_counts(client, publisher.stats.published)
                done = {stage: count.done for stage, count in counts.items()}
                now_s = time.monotonic()
                for stage in STAGES:
                    if done[stage] >= totals[stage]:
                        self._times_s.setdefault(stage, now_s - began_s)
                ended = publishing.done() and all(done[stage] >= totals[stage] for stage in STAGES)
                board.show(counts, last=ended)
                if ended:
                    return
                if done != before:
                    before, moved_s = done, now_s
                elif now_s - moved_s > STUCK_S:
                    raise DemoError(_stuck(done, totals, self._local.log_dir))
                time.sleep(LOOK_S)


def _stuck(done: dict[str, int], totals: dict[str, int], log_dir: Path) -> str:
    behind = [f"{stage} {done[stage]:,} of {totals[stage]:,}" for stage in STAGES if done[stage] < totals[stage]]
    return (
        f"The replay has stood still for {STUCK_S:.0f} s: {', '.join(behind)}. The logs in {log_dir} say what the "
        "processors wait for."
    )


def _shown(path: Path) -> Path:
    """The path as it can be typed here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
