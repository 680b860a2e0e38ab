"""Reads the registry from ClickHouse and keeps it fresh; with ClickHouse away the last copy holds."""

from __future__ import annotations

import threading
import time

import structlog
from barograph.contract.file import ContractError, parse_contract

from sketches.baseline.baseline import BaselineError, for_counting, for_judging, load_baseline
from streams.errors import ProcessorError
from streams.registry.registry import RegisteredBaseline, Registry, build_registry
from streams.runtime.backoff import Backoff, RetryInterrupted
from warehouse import queries
from warehouse.client import Address, Client, connect
from warehouse.errors import WarehouseBusy, WarehouseError

RETRY_S = 0.5, 2.0
"""The first and the largest delay between attempts of the first read."""

log = structlog.get_logger()


class RegistryPoller:
    """Polls contracts and baselines on a thread of its own.

    Args:
        address: of the warehouse.
        every_s: how often it is asked.
        judges: whether baselines are judged by. Who only counts on them does without most of what they hold, of a
            field of 1,000 quantiles some 50 kB.
    """

    def __init__(self, address: Address, every_s: float, *, judges: bool = True) -> None:
        self._address, self._every_s, self._judges = address, every_s, judges
        self._registry = Registry()
        self._stamp: object = None
        self._bodies: dict[str, RegisteredBaseline] = {}
        self._read_s: float | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="registry", daemon=True)

    def current(self) -> Registry:
        """The newest registry read."""
        return self._registry

    def age_s(self) -> float:
        """Seconds since it was read last; infinite before the first time."""
        return float("inf") if self._read_s is None else time.monotonic() - self._read_s

    def start(self, timeout_s: float = 120.0) -> None:
        """Read for the first time, waiting for ClickHouse, then keep polling.

        Raises:
            ProcessorError: ClickHouse does not answer in time, or holds what cannot be read; or `stop` was called.
        """
        backoff = Backoff(*RETRY_S, max_elapsed_s=timeout_s, sleep=self._stop.wait)
        try:
            backoff.retry(self.refresh, WarehouseBusy)
        except (WarehouseBusy, RetryInterrupted) as error:
            cause = error if isinstance(error, WarehouseBusy) else error.__cause__
            raise ProcessorError(f"Contracts and baselines cannot be read: {cause}") from error
        self._thread.start()

    def stop(self) -> None:
        """End polling."""
        self._stop.set()

    def refresh(self) -> None:
        """Read now.

        Raises:
            WarehouseBusy: ClickHouse cannot answer now.
            ProcessorError: what it holds cannot be read.
        """
        with self._lock, connect(self._address, timeout_s=20) as client:
            try:
                self._read(client)
            except (ContractError, BaselineError) as error:
                raise ProcessorError(f"What `barograph apply` stored cannot be read: {error}") from error
            self._read_s = time.monotonic()

    def _read(self, client: Client) -> None:
        stamp = queries.registry_stamp(client)
        if stamp == self._stamp:
            return
        first_applied = {
            str(model): int(applied)
            for model, applied in client.rows(
                "SELECT model, toUnixTimestamp64Milli(min(applied_at)) FROM contracts GROUP BY model"
            )
        }
        contracts = [
            (parse_contract(row.yaml, f"contract of {row.model}"), first_applied[row.model])
            for row in queries.contracts(client)
        ]
        entries = []
        for row in queries.baselines(client):
            effective_s, accepted_ms = int(row.effective_from.timestamp()), round(row.accepted_at.timestamp() * 1000)
            key = f"{row.baseline_id} {row.version} {effective_s}"
            entry = self._bodies.get(key)
            if entry is None:
                baseline = load_baseline(row.body.encode(), f"baseline {row.baseline_id}")
                baseline = for_judging(baseline) if self._judges else for_counting(baseline)
                entry = RegisteredBaseline(baseline, row.baseline_id, effective_s, accepted_ms)
            self._bodies[key] = entry
            entries.append(entry)
        self._registry = build_registry(contracts, entries, self._registry)
        self._stamp = stamp
        log.info("registry", models=len(contracts), baselines=len(entries))

    def _run(self) -> None:
        failing = False
        while not self._stop.wait(self._every_s):
            try:
                self.refresh()
                failing = False
            except (WarehouseBusy, WarehouseError, ProcessorError) as error:
                if not failing:
                    log.warning("registry not read: the last copy holds", error=str(error))
                failing = True
