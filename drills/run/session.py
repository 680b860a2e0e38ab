"""One call of `drill run` or `drill suite`: reads the model and its events, plans, runs and stores the results."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from barograph.contract import Contract
from barograph.publisher.pii import Pii, read_key
from barograph.publisher.tables import PredictionTables

from barograph_server.batch.backfill.check import inspect_files, read_blocks
from barograph_server.batch.backfill.files import EventFile, csv_types
from barograph_server.contracts import read_contract
from barograph_server.drills.derived_model import drill_name
from barograph_server.drills.errors import DrillError
from barograph_server.drills.faults import EventTables
from barograph_server.drills.faults.fault import epoch_ms, with_plain_columns
from barograph_server.drills.live_times import move_to
from barograph_server.drills.recorded_events import newest_event, no_labels, read_events
from barograph_server.drills.report import failed_report
from barograph_server.drills.run.live import run_live_drills
from barograph_server.drills.run.live_checks import check_live, check_windows, lead_s, live_range_s
from barograph_server.drills.run.plan import DrillMode, DrillPlan, DrillRequest, complete_injection, plan_drill
from barograph_server.drills.run.results import (
    DrillOutput,
    DrillResult,
    planned_result,
    store_results,
    unplanned_result,
)
from barograph_server.drills.run.run import DrillInput, DrillOptions, run_drills
from barograph_server.drills.run.scratch import new_run_id
from barograph_server.drills.run.text import print_plan, print_result, print_summary
from barograph_server.drills.webhook import check_address
from barograph_server.profiling.baseline.lookup import list_baselines
from barograph_server.settings import load_settings
from barograph_server.sketches.baseline.baseline import Baseline
from barograph_server.terminal import Terminal
from barograph_server.times import parse_since
from barograph_server.warehouse.client import Client, connect

HISTORY_WINDOWS = 6
"""Range of events in lengths of the longest window: half before the fault, a quarter with it, a quarter after it."""


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """The options that all drills of a call share."""

    files: tuple[Path, ...] = ()
    """Files of events; empty: raw rows in ClickHouse."""
    version: str | None = None
    history_s: int | None = None
    until: str | None = None
    """End of the range of event time: a time, or an age at the newest event; None for the newest event."""
    webhook: str | None = None
    timeout_s: float = 600.0
    mode: DrillMode = "fast"


class DrillSession:
    def __init__(self, config: Path | None, model: str, options: SessionOptions, *, quiet: bool = False) -> None:
        """Load the settings; with `quiet`, only errors are printed, because the caller prints JSON."""
        drill_name(model, "check")
        if options.webhook is not None:
            check_address(options.webhook)
        self._settings = load_settings(config)
        self._model, self._options, self._quiet = model, options, quiet
        self._terminal = Terminal()

    def run(self, requests: Sequence[DrillRequest], *, is_suite: bool) -> DrillOutput:
        """Run drills and store their results.

        Args:
            is_suite: whether a drill that cannot be planned is a failed one; otherwise it is an error.
        """
        run_id, mode = new_run_id(), self._options.mode
        with connect(self._settings.warehouse) as client:
            contract = read_contract(client, self._model)
            version, events = self._read_events(client, contract)
            baseline = _baseline_in_force(client, contract, version, events)
        results: dict[int, DrillResult] = {}
        plans: dict[int, DrillPlan] = {}
        for i, request in enumerate(requests):
            drill_id = run_id if len(requests) == 1 else f"{run_id}-{i + 1}"
            try:
                plans[i] = plan_drill(drill_id, request, contract, baseline, events, self._settings.alerts, mode)
                if mode == "live":
                    check_windows(plans[i])
            except DrillError as error:
                if not is_suite:
                    raise
                plans.pop(i, None)
                injection = complete_injection(request, contract, baseline, events)
                failure = failed_report("the drill can run", str(error))
                results[i] = unplanned_result(drill_id, request, injection, failure)
        with connect(self._settings.warehouse) as client:
            store_results(client, self._model, version, mode, list(results.values()))
        if not self._quiet:
            for plan in plans.values():
                print_plan(self._terminal, plan)
        if plans:
            source = DrillInput(contract, baseline, events)
            options = DrillOptions(self._options.webhook, self._options.timeout_s)
            with Terminal(stderr=True).status("Drill") as status:
                run = run_live_drills if mode == "live" else run_drills
                reports = run(
                    self._settings, run_id, source, list(plans.values()), options, lambda step: status.update(step)
                )
            finished = [planned_result(*pair) for pair in zip(plans.values(), reports, strict=True)]
            with connect(self._settings.warehouse) as client:
                store_results(client, self._model, version, mode, finished)
            results |= zip(plans, finished, strict=True)
        ordered = tuple(results[i] for i in sorted(results))
        if not self._quiet:
            for result in ordered:
                print_result(self._terminal, result)
            if is_suite:
                print_summary(self._terminal, ordered)
        return DrillOutput(self._model, version, mode, all(result.passed for result in ordered), ordered)

    def _read_events(self, client: Client, contract: Contract) -> tuple[str, EventTables]:
        longest_s = max(window.length_s for window in contract.windows)
        history_s = self._options.history_s
        is_live = self._options.mode == "live"
        if history_s is None:
            history_s = live_range_s(contract, self._settings) if is_live else HISTORY_WINDOWS * longest_s
        history = timedelta(seconds=history_s)
        if self._options.files:
            version, events = read_event_files(self._options.files, contract, self._options.version)
            until = self._until(datetime.fromtimestamp(int(epoch_ms(events.predictions).max()) / 1000, UTC))
            events = _between(events, until - history, until)
        else:
            until = self._until(newest_event(client, contract.model))
            version, events = read_events(client, contract, self._options.version, until - history, until)
        if is_live:
            check_live(client, self._settings, contract, events, self._options.timeout_s)
            events = move_to(events, contract, round(1000 * (time.time() + lead_s(self._settings))))
        return version, events

    def _until(self, newest: datetime) -> datetime:
        """Return the end of the range, which is not part of it."""
        if self._options.until is None:
            return newest + timedelta(milliseconds=1)
        return parse_since("until", self._options.until, newest)


def _between(events: EventTables, since: datetime, until: datetime) -> EventTables:
    """Return the predictions of a range, and their labels."""
    since_ms, until_ms = round(since.timestamp() * 1000), round(until.timestamp() * 1000)
    at = epoch_ms(events.predictions)
    predictions = events.predictions.filter(pa.array((at >= since_ms) & (at < until_ms)))
    if not predictions.num_rows:
        raise DrillError(
            f"The files have no predictions from {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC; choose another "
            "--until or --history."
        )
    labels = events.labels.filter(pa.array(epoch_ms(events.labels) >= since_ms))
    return EventTables(predictions, labels.filter(pc.is_in(labels["id"], predictions["id"].combine_chunks())))


def _baseline_in_force(client: Client, contract: Contract, version: str, events: EventTables) -> Baseline:
    last_s = int(epoch_ms(events.predictions).max()) // 1000
    entries = [each for each in list_baselines(client, contract.model) if each.row.version == version]
    in_force = [each for each in entries if each.row.effective_from.timestamp() <= last_s]
    if not in_force:
        raise DrillError(f"{contract.model} version {version} has no baseline, so no rule on drift can fire.")
    baseline = in_force[-1].baseline
    if baseline is None:
        raise DrillError(f"The baseline of {contract.model} version {version} cannot be read by this release.")
    return baseline


def read_event_files(paths: Sequence[Path], contract: Contract, version: str | None) -> tuple[str, EventTables]:
    """Read predictions and labels, in order of time; personal data is protected as the contract says.

    Args:
        paths: files of predictions, and optionally one of labels.
        version: the version; None for the one with the most predictions.

    Raises:
        PiiKeyError: the contract hashes fields, and the key is missing.
    """
    types = csv_types(contract)
    sources = inspect_files([EventFile(path, types, contract.columns) for path in paths], contract, version or "1")
    batches: dict[str, list[pa.RecordBatch]] = {"predictions": [], "labels": []}
    for source in sources:
        batches[source.kind] += [block.rows for block in read_blocks(source, contract, version or "1")]
    if not batches["predictions"]:
        raise DrillError(f"{', '.join(map(str, paths))}: there are no predictions.")
    predictions = pa.concat_tables(
        [pa.Table.from_batches([batch]) for batch in batches["predictions"]], promote_options="permissive"
    )
    counts = pc.value_counts(predictions["version"].cast(pa.string()).combine_chunks()).to_pylist()
    version = version or max(counts, key=lambda pair: pair["counts"])["values"]
    predictions = predictions.filter(pc.equal(predictions["version"], version))
    protected = PredictionTables(contract, version, Pii(contract, read_key(contract)))
    predictions = pa.Table.from_batches([block.rows for block in protected.blocks(predictions)])
    own = [name for name in predictions.column_names if name not in ("model", "producer", "seq", "role")]
    labels = no_labels()
    if batches["labels"]:
        labels = pa.Table.from_batches(batches["labels"]).select(["id", "label", "at"])
    return version, EventTables(_in_order(predictions.select(own)), _in_order(labels))


def _in_order(table: pa.Table) -> pa.Table:
    return with_plain_columns(table).sort_by([("at", "ascending"), ("id", "ascending")])
