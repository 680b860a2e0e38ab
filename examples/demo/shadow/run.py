"""The demo of a shadow: a candidate beside the primary on five months of flights, and the decision about it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.compute as pc
import pyarrow.parquet as pq
from barograph.contract import Window

from barograph_server.examples.demo.demo_run import DemoRun
from barograph_server.examples.demo.flights import (
    DAY_S,
    MODEL,
    SHADOW,
    WEEK,
    Calendar,
    edit_contract,
    infer_options,
    last_pane_end,
)
from barograph_server.examples.demo.fresh_start import SHADOW_DEMO
from barograph_server.examples.demo.phases import PhasedReplay
from barograph_server.examples.demo.shadow.evidence import expect_evidence, report_evidence, wait_until_processed
from barograph_server.examples.demo.shadow.findings import expect_candidate, read_candidate, report_candidate
from barograph_server.examples.demo.shadow.source_pairs import count_source_pairs
from barograph_server.examples.demo.stage_counts import PAIRED, STAGES
from barograph_server.profiling.infer import infer_file
from barograph_server.rollouts.evidence.bundle import write_bundle
from barograph_server.rollouts.evidence.parts import collect_evidence
from barograph_server.rollouts.evidence.verify import verify_bundle
from barograph_server.terminal import Terminal
from barograph_server.warehouse.client import connect

if TYPE_CHECKING:
    from barograph_server.examples.flights.shadow import ShadowFlights

STEPS = ("stack", "data and models", "infer", "apply", *STAGES, PAIRED, "decision", "checkpoint", "evidence")
"""Timed steps, in pipeline order. The first two run in parallel, and so do the stages."""
WINDOWS = (Window(DAY_S, DAY_S), WEEK)
"""One window of drift per day instead of one per hour: this demo is about the candidate."""
REASONS = {"shadow-timeout": "timeout", "ValueError": "error"}
"""`error` of the candidate's predictions → reason of the missing pair."""


class ShadowDemo(DemoRun):
    """A candidate without weather features answers the same flights as the primary."""

    def __init__(self, root: Path | None, terminal: Terminal, stack: ExitStack) -> None:
        """Describe a run without starting anything; the arguments are those of `DemoRun`."""
        super().__init__(root, terminal, stack, SHADOW_DEMO)

    def run(self) -> bool:
        began_s = time.monotonic()
        self._report.heading(
            "Start Apache Kafka and the ClickHouse engine (downloaded on the first run) and train two models"
        )
        with self._terminal.status("about 15 s"), ThreadPoolExecutor(1) as pool:
            starting = pool.submit(self._start_stack)
            flights = self._prepare()
            settings = self._settings = starting.result()
        self._record_end = last_pane_end(flights.predictions)
        calendar = Calendar(flights.shift_weeks)
        self._report.model(flights, self._record_end)
        self._report.heading("barograph infer: contract and baseline from the training table")
        with self._timed("infer"):
            result = infer_file(replace(infer_options(self._folder / "train.parquet"), arms=None, windows=WINDOWS))
            written = result.write_contract(self._folder, force=True)
        self._report.decisions(result)
        contract = edit_contract(result.contract, arms=False, shadow=SHADOW)
        self._report.heading("barograph apply: topics, tables, baseline, and a contract with a section `shadow`")
        self._apply(settings, written, contract)
        n, n_shadows, n_labels = (t.num_rows for t in (flights.predictions, flights.shadows, flights.labels))
        self._report.heading(
            f"Replay: {n:,} predictions of version {SHADOW.of}, {n_shadows:,} with the role shadow, and {n_labels:,} "
            "labels of August to December 2013"
        )
        self._report.paragraph(
            f"Version {SHADOW.candidate}, the candidate, has no weather features. The demo adds faults: 1 in 250 of "
            "its answers times out, 1 in 500 calls raises an exception, and on 24 October it publishes nothing for "
            f"three hours. Version {SHADOW.copy} is a second copy of the primary."
        )
        self._start_processors(settings)
        stages = (n + n_shadows + n_labels, n, n + n_shadows + n_labels, n, n_labels, 2 * (n + n_labels))
        totals = dict(zip((*STAGES, PAIRED), stages, strict=True))
        stage = PhasedReplay([], flights.predictions, flights.labels, rest_s=0.0)
        self._replay(settings, written.contract, flights.predictions, flights.labels, stage, totals, flights.shadows)
        bundle = self._folder / "evidence.zip"
        with connect(settings.warehouse) as client:
            with self._timed("decision"):
                findings = read_candidate(client, calendar)
            with self._timed("checkpoint"):
                wait_until_processed(client)
            with self._timed("evidence"):
                bundle.unlink(missing_ok=True)  # of the run before
                write_bundle(bundle, collect_evidence(client, MODEL))
                verification = verify_bundle(client, bundle)
        candidate = flights.shadows.filter(pc.equal(flights.shadows["version"], SHADOW.candidate))
        source = count_source_pairs(flights.predictions, candidate, flights.labels, REASONS)
        report_candidate(self._report, self._terminal, findings)
        report_evidence(self._report, self._terminal, bundle, verification)
        current = [*expect_candidate(findings, source), *expect_evidence(findings, verification)]
        self._report.expectations(current)
        self._report.times({step: self._times_s[step] for step in STEPS} | {"in all": time.monotonic() - began_s})
        return all(each.is_met for each in current)

    def _prepare(self) -> ShadowFlights:
        # Loads scikit-learn, which no other command needs.
        from barograph_server.examples.flights.shadow import build_shadow

        with self._timed("data and models"):
            flights = build_shadow(datetime.now(UTC))
            self._folder.mkdir(parents=True, exist_ok=True)
            pq.write_table(flights.train, self._folder / "train.parquet")
        return flights
