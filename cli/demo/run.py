"""The demo from an empty folder to verdicts: what happens in which order."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from barograph import Publisher
from barograph.contract import Lines
from rich.console import Console

from cli.apply import apply_all
from cli.apply.files import read_baselines, read_contracts
from cli.demo.board import Board
from cli.demo.counts import STAGES, stage_counts
from cli.demo.errors import DemoError
from cli.demo.expectations import expectations
from cli.demo.findings import read_curve, read_findings
from cli.demo.flights import CANDIDATE, CRITICAL, VERSION, Calendar, infer_options, last_pane_end, prepare_flights
from cli.demo.fresh import fresh_settings, wipe
from cli.demo.picture import draw
from cli.demo.replay import Pace, replay
from cli.demo.report import Reporter
from cli.dev.processors import KINDS, Processor, write_settings
from cli.dev.supervisor import Supervisor
from cli.infer import Written, infer, write_result
from cli.settings import Settings
from local.stack import LocalStack
from warehouse.client import connect

if TYPE_CHECKING:
    from examples.flights.replay import FlightsFiles

STEPS = ("stack", "data and model", "infer", "apply", *STAGES, "queries")
"""What is timed, in the order of the path; the first two run side by side, and so do the stages."""
LOOK_S = 0.5
CURVE_FIELD = "temp"
"""Whose PSI the picture draws."""
STUCK_S = 120.0
"""How long no stage may move before the demo gives up: a busy machine needs seconds."""
STOP_S = 30.0
AHEAD = 40_000
"""Predictions that may wait for the sketcher: six weeks of flights. More at once would only fill memory."""


class Demo:
    """One run."""

    def __init__(self, root: Path | None, console: Console, stack: ExitStack) -> None:
        """Describe a run; nothing is started.

        Args:
            root: the folder of the local stack, by default that of `barograph dev`.
            console: where it tells what it does.
            stack: takes what must be ended; whoever owns it closes it.
        """
        self._local = LocalStack(root)
        self._folder = self._local.root / "demo"
        self._console, self._stack = console, stack
        self._say = Reporter(console)
        self._times_s: dict[str, float] = {}
        self._supervisor: Supervisor | None = None

    def run(self, picture: Path | None = None) -> bool:
        """Do all of it; return whether the flights showed what they must.

        Args:
            picture: an SVG file that the verdicts are drawn into; None draws none.

        Raises:
            DemoError: it stands still.
            LocalStackError: Kafka or ClickHouse does not start.
            DemoDataMissingError: the flights are not installed.
        """
        began_s = time.monotonic()
        self._say.heading("Apache Kafka and the ClickHouse engine start (the first time fetched), and a model learns")
        with self._console.status("about 10 s"), ThreadPoolExecutor(1) as pool:
            starting = pool.submit(self._start_stack)
            files = self._prepare()
            settings = starting.result()
        calendar = Calendar(files.tables.shift_weeks)
        predictions, labels = pq.read_table(files.predictions), pq.read_table(files.labels)
        record_end = last_pane_end(predictions)
        self._say.model(files.tables, record_end)
        self._say.heading("barograph infer: contract and baselines from the training tables")
        written, candidate = self._infer(files)
        self._say.heading("barograph apply: topics, tables, contract and baselines")
        self._apply(settings, written, candidate)
        self._say.heading(
            f"Replay: {predictions.num_rows:,} predictions and {labels.num_rows:,} labels of August to December 2013"
        )
        self._start_processors(settings)
        published = self._replay(settings, written, predictions, labels)
        with self._timed("queries"), connect(settings.warehouse) as client:
            findings = read_findings(client, calendar, record_end, *published)
            if picture is not None:
                curve = read_curve(client, calendar, CURVE_FIELD)
                picture.parent.mkdir(parents=True, exist_ok=True)
                picture.write_text(draw(findings.weeks, CRITICAL, CURVE_FIELD, curve, Lines().major))
        held = expectations(findings)
        self._say.findings(findings, calendar)
        self._say.expectations(held)
        times_s = {step: self._times_s[step] for step in STEPS} | {"in all": time.monotonic() - began_s}
        self._say.times(times_s)
        return all(each.held for each in held)

    def stay(self) -> None:
        """Keep everything up until a signal, and say how it is used."""
        assert self._supervisor is not None
        self._say.next_steps(self._folder, self._local.addresses, self._local.log_dir)
        try:
            while True:
                self._supervisor.look()
                time.sleep(LOOK_S)
        except KeyboardInterrupt:
            self._say.line("Ending the processors, Kafka and ClickHouse.")

    def leave(self) -> None:
        """Say that everything ends, which the owner of the stack sees to."""
        self._say.ended()

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

    def _infer(self, files: FlightsFiles) -> tuple[Written, Written]:
        with self._timed("infer"):
            result = infer(infer_options(files.train))
            # The demo's own folder: an older run's files are of no use.
            written = write_result(result, self._folder, force=True)
            candidate = write_result(infer(infer_options(files.candidate_train, CANDIDATE)), self._folder, force=True)
        self._say.decisions(result)
        return written, candidate

    def _apply(self, settings: Settings, written: Written, candidate: Written) -> None:
        with self._timed("apply"):
            contracts = read_contracts([written.contract])
            baselines = read_baselines([written.baseline, candidate.baseline])
            plan = apply_all(settings, contracts, baselines, reason="the demo")
        self._say.applied(plan, settings)

    def _start_processors(self, settings: Settings) -> None:
        settings_path = self._folder / "processors.toml"
        write_settings(settings_path, settings)
        run_dir = self._local.root / "run"
        children = [Processor(kind, settings_path, run_dir=run_dir, log_dir=self._local.log_dir) for kind in KINDS]
        self._supervisor = Supervisor(children, self._say.line)
        self._stack.callback(self._supervisor.stop, STOP_S)
        self._supervisor.start()

    # ------------------------------------------------------------------------------------------ replay

    def _replay(self, settings: Settings, written: Written, predictions: pa.Table, labels: pa.Table) -> tuple[int, int]:
        """Publish, and follow the events until all are judged and recorded; return what was published."""
        publisher = Publisher.from_contract(
            written.contract,
            version=VERSION,
            bootstrap_servers=settings.bootstrap_servers,
            on_full="wait",
            topic_prefix=settings.topic_prefix,
        )
        n_predictions, n_labels = predictions.num_rows, labels.num_rows
        both = n_predictions + n_labels
        totals = {"published": both, "sketched": n_predictions, "recorded": both, "judged": n_predictions}
        pace = Pace(AHEAD)
        with publisher, ThreadPoolExecutor(1) as pool:
            publishing = pool.submit(replay, predictions, labels, publisher, pace)
            try:
                self._follow(settings, publisher, publishing, pace, totals)
            finally:
                pace.stop()
            return publishing.result()

    def _follow(
        self,
        settings: Settings,
        publisher: Publisher,
        publishing: Future[tuple[int, int]],
        pace: Pace,
        totals: dict[str, int],
    ) -> None:
        assert self._supervisor is not None
        began_s = moved_s = time.monotonic()
        before: dict[str, int] = {}
        with connect(settings.warehouse) as client, Board(self._console, totals) as board:
            while True:
                self._supervisor.look()
                if publishing.done():
                    publishing.result()
                counts = stage_counts(client, publisher.stats.published)
                done = {stage: count.done for stage, count in counts.items()}
                pace.note(done["sketched"])
                now_s = time.monotonic()
                through = [stage for stage in totals if done[stage] >= totals[stage]]
                for stage in through:
                    self._times_s.setdefault(stage, now_s - began_s)
                ended = publishing.done() and len(through) == len(totals)
                board.show(counts, last=ended)
                if ended:
                    return
                if done != before:
                    before, moved_s = done, now_s
                elif now_s - moved_s > STUCK_S:
                    behind = ", ".join(f"{s} {done[s]:,} of {totals[s]:,}" for s in totals if s not in through)
                    raise DemoError(
                        f"The replay has stood still for {STUCK_S:.0f} s: {behind}. The logs in "
                        f"{self._local.log_dir} say what the processors wait for."
                    )
                time.sleep(LOOK_S)
