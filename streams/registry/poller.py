"""Polls contracts and baselines from ClickHouse; while ClickHouse is down, the last copy stays in force."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable

import structlog
from barograph.contract import Contract
from barograph.contract.file import ContractError, parse_contract

from barograph_server.sketches.baseline.baseline import BaselineError, for_counting, for_judging, load_baseline
from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.events.event_time import RETENTION_MS
from barograph_server.streams.registry.registry import RegisteredBaseline, Registry, build_registry
from barograph_server.streams.runtime.backoff import Backoff, RetryInterrupted
from barograph_server.streams.runtime.periodic import Periodic
from barograph_server.warehouse import queries
from barograph_server.warehouse.client import Address, Client, connect
from barograph_server.warehouse.errors import WarehouseBusy, WarehouseError

RETRY_S, MAX_RETRY_S = 0.5, 2.0
"""The first and the largest nominal delay between attempts of the first read."""

log = structlog.get_logger()


class RegistryPoller:
    """Reads the registry on a thread of its own, at a fixed interval.

    A contract or baseline that this version of the program cannot read costs its own model alone: the last readable
    copy of that model stays in force. Without such a copy the model counts as unknown if its contract cannot be read,
    and as a model without any baseline if a baseline cannot. All baselines of the model are left out then: to bin its
    events on another baseline would mix with the counts of other processors.
    """

    def __init__(
        self,
        address: Address,
        interval_s: float,
        *,
        counting_only: bool = False,
        retention_ms: int = RETENTION_MS,
        with_codebooks: bool = False,
        connect_to: Callable[[Address], Client] = lambda address: connect(address, timeout_s=20),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with an empty registry.

        Args:
            counting_only: whether baselines keep only what counting needs. The rest takes some 50 kB for a field of
                1,000 quantiles.
            retention_ms: age at receipt from which events are rejected.
            with_codebooks: whether the codebooks that contracts name are read too.
        """
        self._address, self._counting_only = address, counting_only
        self._connect, self._monotonic = connect_to, monotonic
        self._with_codebooks = with_codebooks
        self._registry = Registry(retention_ms=retention_ms)
        self._stamp: object = None
        self._client: Client | None = None
        """Kept between reads: opening one takes four queries. None before the first read and after a failed one."""
        self._baselines: dict[str, RegisteredBaseline] = {}
        """Baselines read before, so that each is parsed once."""
        self._read_s: float | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = Periodic(
            "registry",
            interval_s,
            self.refresh,
            errors=(WarehouseBusy, WarehouseError),
            on_error=lambda error: log.warning("registry not read: the last copy stays in force", error=str(error)),
            at_end=self.close,
            stop=self._stop,
        )

    def current(self) -> Registry:
        """Return the newest registry."""
        return self._registry

    def age_s(self) -> float:
        """Return the seconds since the last read; infinite before the first."""
        return float("inf") if self._read_s is None else self._monotonic() - self._read_s

    def is_readable(self) -> bool:
        """Return whether every contract and baseline could be read."""
        return not self._registry.unreadable

    def start(self, timeout_s: float = 120.0) -> None:
        """Read for the first time, waiting for ClickHouse, then keep polling."""
        backoff = Backoff(RETRY_S, MAX_RETRY_S, max_elapsed_s=timeout_s, sleep=self._stop.wait)
        try:
            backoff.retry(self.refresh, WarehouseBusy)
        except (WarehouseBusy, RetryInterrupted) as error:
            cause = error if isinstance(error, WarehouseBusy) else error.__cause__
            raise ProcessorError(f"Contracts and baselines cannot be read: {cause}") from error
        self._thread.start()

    def stop(self) -> None:
        """Stop polling; the thread closes the connection. Does not wait, so a signal handler may call it."""
        self._stop.set()

    def close(self) -> None:
        """Close the connection; needed only without `start`."""
        with self._lock:
            self._disconnect()

    def refresh(self) -> None:
        with self._lock:
            try:
                if self._client is None:
                    self._client = self._connect(self._address)
                stamp = queries.registry_stamp(self._client)
                if stamp != self._stamp:
                    self._read(self._client)
                    self._stamp = stamp
            except (WarehouseBusy, WarehouseError):
                self._disconnect()
                raise
            self._read_s = self._monotonic()

    def _disconnect(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None

    def _read(self, client: Client) -> None:
        rows = queries.contracts(client, drills=True)
        # Read after them: a contract may be applied meanwhile, and that of a drill be deleted.
        applied_at_ms = dict(self._registry.applied_at_ms) | queries.first_applied_ms(client)
        contracts: dict[str, Contract] = {}
        baselines: defaultdict[str, list[RegisteredBaseline]] = defaultdict(list)
        unreadable: dict[str, str] = {}
        for contract_row in rows:
            model = contract_row.model
            try:
                contracts[model] = parse_contract(contract_row.yaml, f"contract of {model}")
            except ContractError as error:
                unreadable[model] = str(error)
                log.error("contract cannot be read", model=model, reason=str(error))
        for row in queries.baselines(client):
            try:
                baselines[row.model].append(self._load(row))
            except BaselineError as error:
                unreadable[row.model] = str(error)
                log.error("baseline cannot be read", model=row.model, version=row.version, reason=str(error))
        previous = self._registry
        for model in unreadable:
            last_readable = previous.contracts.get(model)
            if last_readable is not None:
                contracts[model] = last_readable
            histories = previous.baselines.get(model, {}).values()
            baselines[model] = [entry for history in (*histories, previous.empty.get(model, ())) for entry in history]
            log.error(
                "model is not monitored" if last_readable is None else "model runs on its last readable copy",
                model=model,
            )
        self._registry = build_registry(
            [(contract, applied_at_ms[model]) for model, contract in contracts.items() if model in applied_at_ms],
            [entry for entries in baselines.values() for entry in entries],
            previous,
            unreadable,
            previous.retention_ms,
            self._read_codebooks(client, contracts.values()) if self._with_codebooks else {},
        )
        log.info("registry", models=len(contracts), baselines=sum(map(len, baselines.values())))

    def _read_codebooks(self, client: Client, contracts: Iterable[Contract]) -> dict[str, bytes]:
        named = {each.text.codebook for each in contracts if each.text is not None and each.text.codebook}
        known = {key: data for key, data in self._registry.codebooks.items() if key in named}
        missing = named - set(known)
        return known | (queries.codebooks(client, sorted(missing)) if missing else {})

    def _load(self, row: queries.BaselineRow) -> RegisteredBaseline:
        effective_s, accepted_ms = int(row.effective_from.timestamp()), round(row.accepted_at.timestamp() * 1000)
        key = f"{row.baseline_id} {row.version} {effective_s}"
        entry = self._baselines.get(key)
        if entry is None:
            baseline = load_baseline(row.body.encode(), f"baseline {row.baseline_id}")
            baseline = for_counting(baseline) if self._counting_only else for_judging(baseline)
            entry = self._baselines[key] = RegisteredBaseline(baseline, row.baseline_id, effective_s, accepted_ms)
        return entry
