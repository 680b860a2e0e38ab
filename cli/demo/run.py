"""Runs the demo, from an empty folder to verdicts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
from barograph import Publisher
from barograph.contract import Contract
from barograph.contract.file import dump_contract

from cli.apply import apply_all
from cli.apply.catalogue import MIN_LEAD_S
from cli.apply.files import read_baselines
from cli.baseline.accept import AcceptRequest, accept
from cli.demo.chart_data import read_picture_data
from cli.demo.errors import DemoError
from cli.demo.findings import expectations, read_findings, report_findings
from cli.demo.flights import (
    ACCEPTED_AT,
    AUTUMN,
    CANDIDATE,
    CANDIDATE_AT,
    MODEL,
    VERSION,
    Calendar,
    edit_contract,
    infer_options,
    prepare_flights,
)
from cli.demo.fresh_start import POLL_S, fresh_settings, wipe
from cli.demo.phases import PhasedReplay, ReplayPhase
from cli.demo.picture import draw
from cli.demo.progress_board import ProgressBoard
from cli.demo.replay import replay
from cli.demo.report import DemoReport
from cli.demo.source_data import SourceData
from cli.demo.stage_counts import STAGES, stage_counts
from cli.dev.page import open_page, page_address
from cli.dev.processors import KINDS, Processor, write_settings
from cli.dev.supervisor import Supervisor
from cli.infer import WrittenFiles, infer, write_result
from cli.settings import Settings
from cli.terminal import Terminal
from local.stack import LocalStack
from streams.monitor.state.store import WarehouseStore
from warehouse.arm_ratios import sample_ratio, write_ratio
from warehouse.client import Client, connect

if TYPE_CHECKING:
    from examples.flights.replay import FlightsFiles

STEPS = ("stack", "data and model", "infer", "apply", *STAGES, "queries")
"""Timed steps, in pipeline order. The first two run in parallel, and so do the stages."""
POLL_PROGRESS_S = 1.0
APPLY_DELAY_S = 3 * POLL_S
"""Time after which every processor has picked up an applied change."""
STUCK_S = 120.0
"""Time without progress after which the demo fails; a busy machine needs seconds."""
STOP_S = 30.0


class Demo:
    """One run."""

    def __init__(self, root: Path | None, terminal: Terminal, stack: ExitStack) -> None:
        """Describe a run without starting anything.

        Args:
            root: the folder of the local stack, by default that of `barograph dev`.
            terminal: the output.
            stack: receives everything that must be stopped; the caller closes it.
        """
        self._local = LocalStack(root)
        self._folder = self._local.root / "demo"
        self._terminal, self._stack = terminal, stack
        self._report = DemoReport(terminal)
        self._times_s: dict[str, float] = {}
        self._supervisor: Supervisor | None = None
        self._settings: Settings | None = None
        self._record_end: datetime | None = None

    def run(self, picture: Path | None = None) -> bool:
        """Run the demo; return whether all expectations hold.

        Args:
            picture: SVG file to draw the verdicts into; None draws none.

        Raises:
            DemoError: the replay makes no progress.
            LocalStackError: Kafka or ClickHouse does not start.
            DemoDataMissingError: the flights are not installed.
        """
        began_s = time.monotonic()
        self._report.heading(
            "Start Apache Kafka and the ClickHouse engine (downloaded on the first run) and train a model"
        )
        with self._terminal.status("about 10 s"), ThreadPoolExecutor(1) as pool:
            starting = pool.submit(self._start_stack)
            files = self._prepare()
            settings = self._settings = starting.result()
        source = SourceData(files.tables.train, pq.read_table(files.predictions), pq.read_table(files.labels))
        self._record_end = source.record_end
        calendar = Calendar(files.tables.shift_weeks)
        self._report.model(files.tables, source.record_end)
        self._report.heading("barograph infer: contract and baselines from the training tables")
        inferred, written, candidate = self._infer(files)
        self._report.heading("barograph apply: topics, tables, contract and baseline")
        self._apply(settings, written, edit_contract(inferred, arms=False))
        self._report.heading(
            f"Replay: {source.predictions.num_rows:,} predictions and {source.labels.num_rows:,} labels of August to "
            "December 2013"
        )
        self._start_processors(settings)
        phases = [
            ReplayPhase(
                calendar.replayed(CANDIDATE_AT),
                lambda: self._start_test(settings, edit_contract(inferred, arms=True), candidate),
            ),
            ReplayPhase(
                calendar.replayed(ACCEPTED_AT), lambda: self._accept(settings, calendar), calendar.replayed(AUTUMN[1])
            ),
        ]
        published = self._replay(settings, written, source, phases)
        with self._timed("queries"), connect(settings.warehouse) as client:
            self._count_arms(client, edit_contract(inferred, arms=True))
            findings = read_findings(client, calendar, source, published)
            if picture is not None:
                picture.parent.mkdir(parents=True, exist_ok=True)
                picture.write_text(draw(read_picture_data(client, calendar, findings)))
        report_findings(self._report, findings, calendar)
        current = expectations(findings, source)
        self._report.expectations(current)
        times_s = {step: self._times_s[step] for step in STEPS} | {"in all": time.monotonic() - began_s}
        self._report.times(times_s)
        return all(each.is_met for each in current)

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
            wipe(self._local.addresses)
        return fresh_settings(self._local.addresses)

    def _prepare(self) -> FlightsFiles:
        with self._timed("data and model"):
            return prepare_flights(self._folder)

    def _infer(self, files: FlightsFiles) -> tuple[Contract, WrittenFiles, WrittenFiles]:
        with self._timed("infer"):
            result = infer(infer_options(files.train))
            # The folder belongs to the demo, so files of an older run can be overwritten.
            written = write_result(result, self._folder, force=True)
            candidate = write_result(infer(infer_options(files.candidate_train, CANDIDATE)), self._folder, force=True)
        self._report.decisions(result)
        return result.contract, written, candidate

    def _apply(self, settings: Settings, written: WrittenFiles, contract: Contract) -> None:
        """Apply the contract and the first baseline, and save the contract."""
        text = dump_contract(contract)
        written.contract.write_text(text, encoding="utf-8")
        with self._timed("apply"):
            plan = apply_all(settings, [(contract, text)], read_baselines([written.baseline]), reason="the demo")
        self._report.applied(plan, settings)

    def _start_processors(self, settings: Settings) -> None:
        settings_path = self._folder / "processors.toml"
        write_settings(settings_path, settings)
        run_dir = self._local.root / "run"
        password, log_dir = settings.warehouse.password, self._local.log_dir
        children = [Processor(kind, settings_path, password, run_dir=run_dir, log_dir=log_dir) for kind in KINDS]
        self._supervisor = Supervisor(children, self._report.line)
        self._stack.callback(self._supervisor.stop, STOP_S)
        self._supervisor.start()

    def _count_arms(self, client: Client, contract: Contract) -> None:
        """Compute the sample ratio at the end; the scorer does it every few minutes, too late for a replay."""
        ratio = sample_ratio(client, contract)
        if ratio is not None:
            write_ratio(client, ratio)

    # ------------------------------------------------------------------------------------------ actions

    def _start_test(self, settings: Settings, contract: Contract, candidate: WrittenFiles) -> None:
        text = dump_contract(contract)
        (self._folder / f"{MODEL}.yaml").write_text(text, encoding="utf-8")
        plan = apply_all(
            settings, [(contract, text)], read_baselines([candidate.baseline]), reason="A/B test of version 2"
        )
        self._report.test_started(plan)

    def _accept(self, settings: Settings, calendar: Calendar) -> None:
        """Accept autumn as a baseline, at the latest time allowed on the clock of the replay."""
        effective_s = int(calendar.replayed(ACCEPTED_AT).timestamp())
        first, last = (int(calendar.replayed(at).timestamp()) for at in AUTUMN)
        request = AcceptRequest(
            model=MODEL,
            version=VERSION,
            from_s=first,
            to_s=last,
            effective_s=effective_s,
            reason="autumn is the expected state from now on",
        )
        self._report.accepted(accept(settings.warehouse, request, clock=lambda: effective_s - MIN_LEAD_S))

    # ------------------------------------------------------------------------------------------ replay

    def _replay(
        self, settings: Settings, written: WrittenFiles, source: SourceData, phases: list[ReplayPhase]
    ) -> tuple[int, int]:
        """Publish, and wait until all events are judged, recorded and scored; return the published counts."""
        publisher = Publisher.from_contract(
            written.contract,
            version=VERSION,
            bootstrap_servers=settings.bootstrap_servers,
            on_full="wait",
            topic_prefix=settings.topic_prefix,
        )
        stage = PhasedReplay(phases, source.predictions, source.labels, rest_s=APPLY_DELAY_S)
        n_predictions, n_labels = source.predictions.num_rows, source.labels.num_rows
        both = n_predictions + n_labels
        totals = dict(zip(STAGES, (both, n_predictions, both, n_predictions, n_labels), strict=True))
        with publisher, ThreadPoolExecutor(1) as pool:
            publishing = pool.submit(replay, source.predictions, source.labels, publisher, stage.pace)
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
        totals: dict[str, int],
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
