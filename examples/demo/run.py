"""The demo of drift: what changed in five months of flights."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
from barograph.contract import Contract
from barograph.contract.file import dump_contract

from barograph_server.alerts.guard.detectability_history import store_detectability
from barograph_server.alerts.guard.suspected_causes import explain_verdicts, store_causes
from barograph_server.alerts.prediction.model_detectability import compute_detectability
from barograph_server.examples.demo.chart_data import read_picture_data
from barograph_server.examples.demo.demo_run import DemoRun
from barograph_server.examples.demo.findings import expectations, read_findings, report_findings
from barograph_server.examples.demo.flights import (
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
from barograph_server.examples.demo.fresh_start import DRIFT_DEMO, POLL_S
from barograph_server.examples.demo.phases import PhasedReplay, ReplayPhase
from barograph_server.examples.demo.picture import draw
from barograph_server.examples.demo.source_data import SourceData
from barograph_server.examples.demo.stage_counts import STAGES
from barograph_server.profiling.infer import WrittenFiles, infer_file
from barograph_server.provisioning import apply_all
from barograph_server.provisioning.accepted_baselines import AcceptRequest, accept
from barograph_server.provisioning.catalogue import MIN_LEAD_S
from barograph_server.provisioning.files import read_baselines
from barograph_server.settings import Settings
from barograph_server.terminal import Terminal
from barograph_server.warehouse.client import Client, connect
from barograph_server.warehouse.rollouts.arm_ratios import sample_ratio, write_ratio

if TYPE_CHECKING:
    from barograph_server.examples.flights.replay import FlightsFiles

STEPS = ("stack", "data and model", "infer", "apply", *STAGES, "queries")
"""Timed steps, in pipeline order. The first two run in parallel, and so do the stages."""
RECORDED = timedelta(days=200)
"""More than the length of the replay."""
APPLY_DELAY_S = 3 * POLL_S
"""Time after which every processor has picked up an applied change."""


class DriftDemo(DemoRun):
    """The four signals over five months, with an A/B test and an accepted baseline."""

    def __init__(self, root: Path | None, terminal: Terminal, stack: ExitStack, picture: Path | None = None) -> None:
        """Describe a run without starting anything.

        Args:
            root: as for `DemoRun`, like `terminal` and `stack`.
            terminal: the output.
            stack: what must be stopped.
            picture: SVG file to draw the verdicts into; None draws none.
        """
        super().__init__(root, terminal, stack, DRIFT_DEMO)
        self._picture = picture

    def run(self) -> bool:
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
        n_predictions, n_labels = source.predictions.num_rows, source.labels.num_rows
        both = n_predictions + n_labels
        totals = dict(zip(STAGES, (both, n_predictions, both, n_predictions, n_labels), strict=True))
        stage = PhasedReplay(phases, source.predictions, source.labels, rest_s=APPLY_DELAY_S)
        published = self._replay(settings, written.contract, source.predictions, source.labels, stage, totals)
        with self._timed("queries"), connect(settings.warehouse) as client:
            tested = edit_contract(inferred, arms=True)
            self._count_arms(client, tested)
            self._store_guard_results(client, settings, tested, source.record_end)
            findings = read_findings(client, calendar, source, published)
            if self._picture is not None:
                self._picture.parent.mkdir(parents=True, exist_ok=True)
                self._picture.write_text(draw(read_picture_data(client, calendar, findings)))
        report_findings(self._report, findings, calendar)
        current = expectations(findings, source)
        self._report.expectations(current)
        times_s = {step: self._times_s[step] for step in STEPS} | {"in all": time.monotonic() - began_s}
        self._report.times(times_s)
        return all(each.is_met for each in current)

    # ------------------------------------------------------------------------------------------ steps

    def _prepare(self) -> FlightsFiles:
        with self._timed("data and model"):
            return prepare_flights(self._folder)

    def _infer(self, files: FlightsFiles) -> tuple[Contract, WrittenFiles, WrittenFiles]:
        with self._timed("infer"):
            result = infer_file(infer_options(files.train))
            # The folder belongs to the demo, so files of an older run can be overwritten.
            written = result.write_contract(self._folder, force=True)
            candidate = infer_file(infer_options(files.candidate_train, CANDIDATE)).write_contract(
                self._folder, force=True
            )
        self._report.decisions(result)
        return result.contract, written, candidate

    @staticmethod
    def _store_guard_results(client: Client, settings: Settings, contract: Contract, end: datetime) -> None:
        """Store what a guard computes once a day or minute: none runs on the clock of the replay."""
        store_detectability(client, contract, compute_detectability(client, contract, settings.alerts), time.time())
        store_causes(client, explain_verdicts(client, contract, end - RECORDED, end), datetime.now(UTC))

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
