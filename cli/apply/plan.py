"""What `apply` would do, and its doing: tables, topics, baselines, contracts, Grafana, in this order.

Everything is compared with what is there, so that a second run finds nothing to do, and a run that broke off is
finished by the next. Baselines come before contracts: a contract makes its model known, and from then on its events
are counted on the bins of a baseline. Grafana, where one is named, comes last: what it shows is there by then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from barograph.contract import Contract

from cli.apply import catalogue
from cli.apply.catalogue import BaselineChange, ContractChange, Stored
from cli.apply.grafana import GrafanaError, GrafanaPlan, apply_grafana, bundle_of, check_grafana, plan_grafana
from cli.apply.grafana import connect as connect_grafana
from cli.apply.topics import TopicAdmin, TopicChange, TopicSpec, TopicState, compare, topic_specs
from cli.errors import ApplyError
from cli.settings import Settings
from sketches.baseline.baseline import Baseline
from warehouse import migrate, queries
from warehouse.client import Client, WarehouseError, connect
from warehouse.migrate import Migration
from warehouse.queries import TopicRow
from warehouse.tables import insert_rows

_NO_DATABASE = 81

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done; empty where everything is as it should be."""

    database: str = ""
    """The database to be created, empty where it exists."""
    migrations: tuple[Migration, ...] = ()
    topics: tuple[TopicChange, ...] = ()
    records: tuple[str, ...] = ()
    """Topics that exist and are not recorded as they are."""
    baselines: tuple[BaselineChange, ...] = ()
    contracts: tuple[ContractChange, ...] = ()
    grafana: GrafanaPlan | None = None
    """None where no Grafana is named."""
    notes: tuple[str, ...] = ()
    """What is worth knowing and changes nothing."""

    @property
    def changes_nothing(self) -> bool:
        """Whether `apply` would write nothing."""
        if self.grafana is not None and not self.grafana.changes_nothing:
            return False
        return not (self.database or self.migrations or self.topics or self.records or self.baselines or self.contracts)

    @property
    def is_empty(self) -> bool:
        """Whether everything is as it should be, in Grafana too."""
        return self.changes_nothing and (self.grafana is None or self.grafana.is_empty)


def plan_all(
    settings: Settings,
    contracts: Sequence[tuple[Contract, str]],
    baselines: Sequence[Baseline] = (),
    *,
    effective_s: int | None = None,
    overwrite_grafana: bool = False,
    clock: Clock = time.time,
) -> Plan:
    """Find what `apply_all` would do; nothing is changed.

    Args:
        settings: where Kafka, ClickHouse and, if there is one, Grafana are, and how many partitions the topics have.
        contracts: each with the text of its file.
        baselines: those to be accepted.
        effective_s: event time (Unix seconds) from which another baseline of a version holds; by default the next
            start of a pane.
        overwrite_grafana: whether what was edited by hand in Grafana, or is not ours there, is overwritten.
        clock: the time of now, Unix seconds.

    Raises:
        ApplyError: what is given does not fit together, or not what is there; Grafana cannot be deployed to.
        ProcessorError: Kafka does not answer, or refuses.
        WarehouseError, WarehouseBusy: so does ClickHouse.
    """
    admin = TopicAdmin(settings)
    with _opened(settings) as client:
        plan, in_force = _plan(settings, client, admin, contracts, baselines, effective_s, clock())
    return replace(plan, grafana=_in_grafana(plan_grafana, settings, in_force, overwrite=overwrite_grafana))


def apply_all(
    settings: Settings,
    contracts: Sequence[tuple[Contract, str]],
    baselines: Sequence[Baseline] = (),
    *,
    effective_s: int | None = None,
    reason: str = "",
    overwrite_grafana: bool = False,
    clock: Clock = time.time,
) -> Plan:
    """Create or change what is missing or different, and return what was done.

    Arguments and errors are those of `plan_all`; what is given is checked as a whole before anything is changed.
    `reason` is stored with each baseline.
    """
    admin = TopicAdmin(settings)
    with _opened(settings) as result:
        plan, in_force = _plan(settings, result, admin, contracts, baselines, effective_s, clock())
    _in_grafana(check_grafana, settings, in_force, overwrite=overwrite_grafana)
    with connect(settings.warehouse, create=True) as client:
        migrate.apply(client)
        _make_topics(client, admin, plan, topic_specs(settings), clock)
        catalogue.store_baselines(client, plan.baselines, reason, _millis(clock))
        _store_contracts(client, plan.contracts, clock)
    try:
        deployed = _in_grafana(apply_grafana, settings, in_force, overwrite=overwrite_grafana)
    except GrafanaError as error:
        raise ApplyError(f"Tables, topics, baselines and contracts are applied. {error}") from error
    return replace(plan, grafana=deployed)


def _in_grafana(
    act: Callable[..., GrafanaPlan], settings: Settings, in_force: Mapping[str, Contract], *, overwrite: bool
) -> GrafanaPlan | None:
    """Plan, check or apply what these contracts ask of Grafana; None where no Grafana is named."""
    if settings.grafana is None:
        return None
    with connect_grafana(settings.grafana) as grafana:
        return act(grafana, bundle_of(in_force, settings), overwrite=overwrite)


@contextmanager
def _opened(settings: Settings) -> Iterator[Client | None]:
    """A connection, None where the database is missing."""
    try:
        client = connect(settings.warehouse)
    except WarehouseError as error:
        if error.code != _NO_DATABASE:
            raise
        yield None
        return
    with client:
        yield client


def _plan(
    settings: Settings,
    client: Client | None,
    admin: TopicAdmin,
    contracts: Sequence[tuple[Contract, str]],
    baselines: Sequence[Baseline],
    effective_s: int | None,
    now_s: float,
) -> tuple[Plan, Mapping[str, Contract]]:
    """Find what is to be done but in Grafana, and the contracts that are in force afterwards, by model."""
    migrations = migrate.load() if client is None else tuple(migrate.pending(client))
    stored, recorded = Stored(), dict[str, TopicRow]()
    if client is not None and _has_catalogue(client):
        stored = catalogue.read_stored(client)
        recorded = {row.name: row for row in queries.topics(client)}
    contract_changes = catalogue.plan_contracts(contracts, stored)
    in_force = {model: contract for model, (_, contract) in stored.contracts.items() if contract is not None}
    in_force |= {contract.model: contract for contract, _ in contracts}
    baseline_changes = catalogue.plan_baselines(baselines, in_force, stored, effective_s=effective_s, now_s=now_s)
    notes = catalogue.fit_notes(contract_changes, baselines, stored)
    specs = topic_specs(settings)
    states = admin.read([spec.name for spec in specs])
    _check_parts(settings, recorded, states)
    notes += _partition_notes(specs, states)
    changes = [change for spec in specs if (change := compare(spec, states.get(spec.name))) is not None]
    plan = Plan(
        database=settings.warehouse.database if client is None else "",
        migrations=migrations,
        topics=tuple(changes),
        records=tuple(name for name, state in states.items() if not _is_recorded(recorded.get(name), state)),
        baselines=tuple(baseline_changes),
        contracts=tuple(contract_changes),
        notes=tuple(notes),
    )
    return plan, in_force


def _has_catalogue(client: Client) -> bool:
    result = client.rows(
        "SELECT count() FROM system.tables WHERE database = {database:String} "
        "AND name IN ('contracts', 'baselines', 'topics')",
        {"database": client.database},
    )
    return bool(result[0][0] == 3)


def _is_recorded(row: TopicRow | None, state: TopicState) -> bool:
    return row is not None and (row.topic_id, row.partitions) == (state.topic_id, state.partitions)


def _check_parts(settings: Settings, recorded: dict[str, TopicRow], states: dict[str, TopicState]) -> None:
    """Refuse another number of partitions of `partials`: which model is in which rests on it."""
    name, expected = settings.topics.partials, settings.partials_partitions
    row, state = recorded.get(name), states.get(name)
    fixed = row.partitions if row is not None else state.partitions if state is not None else expected
    if expected != fixed:
        raise ApplyError(
            f"The topic {name} has {fixed} partitions for good, because they decide which monitor holds which model, "
            f"and the settings ask for {expected}: set partials_partitions to {fixed}."
        )
    if state is not None and state.partitions != fixed:
        raise ApplyError(
            f"The topic {name} has {state.partitions} partitions in Kafka and was applied with {fixed}: somebody "
            f"changed it. Stop the processors, delete the topic and run `barograph apply`, which makes it anew with "
            f"{fixed}; what was in it is recorded as lost."
        )


def _partition_notes(specs: Sequence[TopicSpec], states: dict[str, TopicState]) -> list[str]:
    notes = []
    for spec in specs:
        state = states.get(spec.name)
        if state is None or state.partitions == spec.partitions or (spec.growth and state.partitions < spec.partitions):
            continue
        why = "Kafka cannot take any away" if spec.growth else "a key belongs to one partition for good"
        notes.append(
            f"Topic {spec.name} has {state.partitions} partitions and keeps them ({spec.partitions} in the settings): "
            f"{why}."
        )
    return notes


def _make_topics(client: Client, admin: TopicAdmin, plan: Plan, specs: Sequence[TopicSpec], clock: Clock) -> None:
    for change in plan.topics:
        name = change.spec.name
        if change.create:
            admin.create(change.spec)
        if change.grow_from is not None:
            admin.grow(name, change.spec.partitions)
        if change.settings:
            admin.configure(name, {key: expected for key, (_, expected) in change.settings.items()})
    states = admin.wait(specs)
    recorded = {row.name: row for row in queries.topics(client)}
    rows = [
        {
            "name": name,
            "topic_id": state.topic_id,
            "partitions": state.partitions,
            "recorded_at": _millis(clock),
        }
        for name, state in states.items()
        if not _is_recorded(recorded.get(name), state)
    ]
    insert_rows(client, "topics", rows)


def _store_contracts(client: Client, changes: Sequence[ContractChange], clock: Clock) -> None:
    rows = [
        {
            "model": change.contract.model,
            "contract_id": change.contract.id,
            "yaml": change.yaml,
            "applied_at": _millis(clock),
        }
        for change in changes
    ]
    insert_rows(client, "contracts", rows)


def _millis(clock: Clock) -> int:
    return int(clock() * 1000)
