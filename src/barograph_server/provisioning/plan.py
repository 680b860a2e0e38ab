"""Plan and execution of an apply: tables, topics, baselines, codebooks, contracts, Grafana, in this order.

Each step compares the desired with the current state, so a second run changes nothing and the next run completes an
interrupted one. Baselines come before contracts: a contract registers its model, and from then on processors count its
events on the bins of a baseline. Grafana, if configured, comes last, because its panels query the rest.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from barograph.contract import Contract, Field
from barograph.contract.dump import dump_contract
from barograph.contract.evaluator_contracts import evaluator_contracts
from barograph.text.codebook import Codebook

from barograph_server.errors import ApplyError
from barograph_server.provisioning import catalogue
from barograph_server.provisioning.catalogue import BaselineChange, Catalogue, ContractChange
from barograph_server.provisioning.files import plan_codebooks, store_codebooks
from barograph_server.provisioning.grafana import (
    Grafana,
    GrafanaError,
    GrafanaPlan,
    apply_grafana,
    build_resources,
    check_grafana,
    plan_grafana,
)
from barograph_server.provisioning.impact import impact_notes, removed_fields
from barograph_server.provisioning.promotions import (
    UNUSED_GROUNDS,
    Promotion,
    PromotionGrounds,
    find_promotions,
    justify_promotions,
    store_promotions,
)
from barograph_server.provisioning.topics import (
    TopicAdmin,
    TopicChange,
    TopicSpec,
    TopicState,
    compare,
    is_ready,
    topic_specs,
)
from barograph_server.settings import Settings
from barograph_server.sketches.baseline.baseline import ALL, Baseline, FieldBaseline, SliceCounts, SliceValues
from barograph_server.streams.evaluator.active import NO_VERSION
from barograph_server.warehouse import migrate, queries, retention
from barograph_server.warehouse.client import Client, WarehouseError, connect
from barograph_server.warehouse.governance.lineage import store_lineage
from barograph_server.warehouse.migrate import Migration
from barograph_server.warehouse.operations.server import tables
from barograph_server.warehouse.operations.serving_facts import store_serving_sections
from barograph_server.warehouse.queries import TopicRow
from barograph_server.warehouse.retention import TtlChange
from barograph_server.warehouse.tables import insert_rows

_NO_DATABASE = 81

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Planned or completed changes; empty if everything is up to date."""

    database: str = ""
    """The database to create, empty if it exists."""
    migrations: tuple[Migration, ...] = ()
    ttls: tuple[TtlChange, ...] = ()
    """Tables whose TTL is too short for the setting `retention_days`."""
    topics: tuple[TopicChange, ...] = ()
    topic_records: tuple[str, ...] = ()
    """Existing topics whose recorded id or partition count is missing or outdated."""
    baselines: tuple[BaselineChange, ...] = ()
    codebooks: tuple[Codebook, ...] = ()
    """Codebooks that are not stored yet."""
    contracts: tuple[ContractChange, ...] = ()
    promotions: tuple[Promotion, ...] = ()
    """Changes of contracts that need evidence; they are among `contracts`."""
    grafana: GrafanaPlan | None = None
    """None if no Grafana is configured."""
    notes: tuple[str, ...] = ()
    """Messages that require no change."""

    @property
    def changes_nothing(self) -> bool:
        """Whether `apply` would write nothing."""
        if self.grafana is not None and self.grafana.written:
            return False
        return not (
            self.database
            or self.migrations
            or self.ttls
            or self.topics
            or self.topic_records
            or self.baselines
            or self.codebooks
            or self.contracts
        )

    @property
    def is_empty(self) -> bool:
        """Whether everything is up to date, in Grafana too."""
        return self.changes_nothing and (self.grafana is None or self.grafana.is_empty)


def plan_all(
    settings: Settings,
    contracts: Sequence[tuple[Contract, str]],
    baselines: Sequence[Baseline] = (),
    codebooks: Sequence[Codebook] = (),
    *,
    effective_s: int | None = None,
    overwrite_grafana: bool = False,
    clock: Clock = time.time,
) -> Plan:
    """Plan `apply_all` without changing anything.

    Args:
        contracts: the contracts, each with the text of its file.
        effective_s: event time (Unix seconds) from which a replacement baseline applies; by default the start of the
            next pane that is at least `MIN_LEAD_S` ahead.
        overwrite_grafana: whether to overwrite Grafana objects that were not applied from here.

    Raises:
        ApplyError: contracts and baselines do not fit each other or the current state, or Grafana cannot be deployed
            to.
        ProcessorError: Kafka does not answer or rejects a request.
        WarehouseError, WarehouseBusy: ClickHouse rejects a query or does not answer.
    """
    admin = TopicAdmin(settings)
    with _open_client(settings) as client:
        plan, in_force = _plan_pipeline(settings, client, admin, contracts, baselines, codebooks, effective_s, clock())
    return replace(plan, grafana=_call_grafana(plan_grafana, settings, in_force, overwrite=overwrite_grafana))


def apply_all(
    settings: Settings,
    contracts: Sequence[tuple[Contract, str]],
    baselines: Sequence[Baseline] = (),
    codebooks: Sequence[Codebook] = (),
    *,
    effective_s: int | None = None,
    reason: str = "",
    grounds: PromotionGrounds | None = None,
    overwrite_grafana: bool = False,
    clock: Clock = time.time,
) -> Plan:
    """Make the planned changes and return them.

    Arguments and errors are those of `plan_all`; all inputs are checked before the first change. `reason` is stored
    with each baseline, `grounds` with each promotion.
    """
    admin = TopicAdmin(settings)
    with _open_client(settings) as existing:
        plan, in_force = _plan_pipeline(
            settings, existing, admin, contracts, baselines, codebooks, effective_s, clock()
        )
        if plan.promotions:
            assert existing is not None
            stored, own_grounds = catalogue.read_catalogue(existing), grounds or PromotionGrounds()
            plan = replace(plan, promotions=tuple(justify_promotions(existing, plan.promotions, stored, own_grounds)))
        elif grounds:
            plan = replace(plan, notes=(*plan.notes, UNUSED_GROUNDS))
    _call_grafana(check_grafana, settings, in_force, overwrite=overwrite_grafana)
    with connect(settings.warehouse, create=True) as client:
        migrate.apply(client)
        retention.apply_ttls(client, settings.retention_days)
        _apply_topics(client, admin, plan, topic_specs(settings), clock)
        catalogue.store_baselines(client, plan.baselines, reason, _milliseconds(clock))
        store_codebooks(client, plan.codebooks, _milliseconds(clock))
        applied_ms = _milliseconds(clock)
        # Promotions come first, so that no version changes without a record. If their contracts are not stored,
        # `latest_promotions` skips them.
        store_promotions(client, plan.promotions, applied_ms)
        # The same holds for the tables that are made of contracts.
        applied = [change.contract for change in plan.contracts]
        store_serving_sections(client, applied, applied_ms)
        store_lineage(client, applied, applied_ms)
        catalogue.store_contracts(client, ((each.contract, each.yaml) for each in plan.contracts), applied_ms)
    try:
        deployed = _call_grafana(apply_grafana, settings, in_force, overwrite=overwrite_grafana)
    except GrafanaError as error:
        raise ApplyError(f"Tables, topics, baselines and contracts are applied. {error}") from error
    return replace(plan, grafana=deployed)


def _call_grafana(
    function: Callable[..., GrafanaPlan], settings: Settings, in_force: Mapping[str, Contract], *, overwrite: bool
) -> GrafanaPlan | None:
    """Call a function with a connection to Grafana and the resources of these contracts; None without Grafana."""
    if settings.grafana is None:
        return None
    with Grafana(settings.grafana) as grafana:
        return function(grafana, build_resources(in_force, settings), overwrite=overwrite)


@contextmanager
def _open_client(settings: Settings) -> Iterator[Client | None]:
    """Open a connection to ClickHouse; None if the database does not exist."""
    try:
        client = connect(settings.warehouse)
    except WarehouseError as error:
        if error.code != _NO_DATABASE:
            raise
        yield None
        return
    with client:
        yield client


def _plan_pipeline(
    settings: Settings,
    client: Client | None,
    admin: TopicAdmin,
    contracts: Sequence[tuple[Contract, str]],
    baselines: Sequence[Baseline],
    codebooks: Sequence[Codebook],
    effective_s: int | None,
    now_s: float,
) -> tuple[Plan, Mapping[str, Contract]]:
    """Plan everything except Grafana; also return the contracts in force after the apply, by model."""
    migrations = migrate.load() if client is None else tuple(migrate.pending(client))
    stored, recorded, stored_codebooks = Catalogue(), dict[str, TopicRow](), set[str]()
    if client is not None and {"contracts", "baselines", "codebooks", "topics"} <= set(tables(client)):
        stored = catalogue.read_catalogue(client)
        recorded = {row.name: row for row in queries.topics(client)}
        stored_codebooks = queries.codebook_ids(client)
    own_models = {contract.model for contract, _ in contracts}
    contracts = with_evaluators(contracts, [each for _, each in stored.contracts.values() if each is not None])
    contract_changes = catalogue.plan_contracts(contracts, stored)
    in_force = {model: contract for model, (_, contract) in stored.contracts.items() if contract is not None}
    removed = removed_fields(in_force, {contract.model: contract for contract, _ in contracts})
    in_force |= {contract.model: contract for contract, _ in contracts}
    with_rows = replace(stored, baselines=[row for row in stored.baselines if row.version != NO_VERSION])
    known = {baseline.model for baseline in baselines} | {row.model for row in with_rows.baselines}
    baselines = [*baselines, *first_baselines(contract for contract, _ in contracts if contract.model not in known)]
    baseline_changes = catalogue.plan_baselines(baselines, in_force, stored, effective_s=effective_s, now_s=now_s)
    notes = catalogue.describe_misfits(contract_changes, baselines, with_rows)
    notes += [
        f"Model {model} has no baseline yet: its predictions are counted, without verdicts on drift. Make one of what "
        f"is recorded with `barograph infer --from-traffic {model}`, or of a training table, and apply it."
        for model in sorted({change.contract.model for change in contract_changes} & own_models - known)
    ]
    if client is not None:
        notes += impact_notes(settings, client, removed)
    specs = topic_specs(settings)
    states = admin.read([spec.name for spec in specs])
    _check_partials(settings, recorded, states)
    notes += _partition_notes(specs, states)
    changes = [change for spec in specs if (change := compare(spec, states.get(spec.name))) is not None]
    plan = Plan(
        database=settings.warehouse.database if client is None else "",
        migrations=migrations,
        ttls=() if client is None else tuple(retention.ttl_changes(client, settings.retention_days)),
        topics=tuple(changes),
        topic_records=tuple(name for name, state in states.items() if not _is_recorded(recorded.get(name), state)),
        baselines=tuple(baseline_changes),
        codebooks=tuple(plan_codebooks((contract for contract, _ in contracts), codebooks, stored_codebooks)),
        contracts=tuple(contract_changes),
        promotions=tuple(find_promotions(contract_changes, stored)),
        notes=tuple(notes),
    )
    return plan, in_force


def _is_recorded(row: TopicRow | None, state: TopicState) -> bool:
    return row is not None and (row.topic_id, row.partitions) == (state.topic_id, state.partitions)


def _check_partials(settings: Settings, recorded: dict[str, TopicRow], states: dict[str, TopicState]) -> None:
    """Check that the partition count of `partials` is unchanged: it determines each model's partition."""
    name, expected = settings.topics.partials, settings.partials_partitions
    row, state = recorded.get(name), states.get(name)
    fixed = row.partitions if row is not None else state.partitions if state is not None else expected
    if expected != fixed:
        raise ApplyError(
            f"The topic {name} has {fixed} partitions, but the settings have {expected}. The count cannot change, "
            f"because it determines each model's partition: set partials_partitions to {fixed}."
        )
    if state is not None and state.partitions != fixed:
        raise ApplyError(
            f"The topic {name} has {state.partitions} partitions in Kafka but was created with {fixed}: someone "
            f"changed it. Stop the processors, delete the topic and run `barograph apply`, which recreates it with "
            f"{fixed} partitions and records its contents as lost."
        )


def _partition_notes(specs: Sequence[TopicSpec], states: dict[str, TopicState]) -> list[str]:
    notes = []
    for spec in specs:
        state = states.get(spec.name)
        if state is None or state.partitions == spec.partitions or not is_ready(spec, state):
            continue
        reason = "Kafka cannot remove partitions" if spec.can_grow else "its keys are bound to their partitions"
        notes.append(
            f"Topic {spec.name} keeps its {state.partitions} partitions, not the {spec.partitions} of the settings: "
            f"{reason}."
        )
    return notes


def _apply_topics(client: Client, admin: TopicAdmin, plan: Plan, specs: Sequence[TopicSpec], clock: Clock) -> None:
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
    recorded_at = _milliseconds(clock)
    rows = [
        {"name": name, "topic_id": state.topic_id, "partitions": state.partitions, "recorded_at": recorded_at}
        for name, state in states.items()
        if not _is_recorded(recorded.get(name), state)
    ]
    insert_rows(client, "topics", rows)


def _milliseconds(clock: Clock) -> int:
    return int(clock() * 1000)


def with_evaluators(
    contracts: Sequence[tuple[Contract, str]], stored: Iterable[Contract] = ()
) -> list[tuple[Contract, str]]:
    """Add the contracts of the evaluators, each with its text.

    Raises:
        ApplyError: the model of an evaluator has a contract of its own.
    """
    in_force = list(stored)
    derived_before = {each.model for contract in in_force for each in evaluator_contracts(contract)}
    own_models = {contract.model for contract, _ in contracts}
    models = {*own_models, *({contract.model for contract in in_force} - derived_before)}
    taken = sorted(own_models & derived_before - {each.model for each in in_force if each.evaluators})
    if taken:
        raise ApplyError(f"{taken[0]} is the model of an evaluator, whose contract is derived: rename the model.")
    derived = [each for contract, _ in contracts for each in evaluator_contracts(contract)]
    for contract in derived:
        if contract.model in models:
            raise ApplyError(
                f"{contract.model} has a contract, and is also the model of an evaluator, whose contract is derived: "
                "rename the evaluator, or remove the contract."
            )
    return [*contracts, *((contract, dump_contract(contract)) for contract in derived)]


def first_baselines(contracts: Iterable[Contract]) -> list[Baseline]:
    """Return a baseline without rows for each contract.

    A baseline is what processors count on. One without rows has the fields and the named slices and classes of the
    contract, and no expected shares: predictions are counted, and all verdicts are `insufficient`. It serves as long as
    the model has no other.
    """
    return [
        Baseline(
            model=contract.model,
            version=NO_VERSION,
            rows=0,
            slice_rows={ALL: 0},
            dimensions=tuple(
                SliceValues(name=cut.name, source=cut.source, values=cut.values, trained=False)
                for cut in contract.slices
            ),
            # The panes of a baseline without fields could not be loaded again.
            fields=tuple(_uncounted(field, contract) for field in contract.fields or (_LATENCY,)),
            source="derived from a contract",
        )
        for contract in contracts
    ]


_LATENCY = Field(name="latency_ms", type="float", source="latency_ms")


def _uncounted(field: Field, contract: Contract) -> FieldBaseline:
    label = contract.label
    of_label = () if label is None or field.source != "class" else label.classes or (label.positive, label.negative)
    categories = tuple(str(each) for each in of_label if each is not None)
    is_category = field.type == "category"
    return FieldBaseline(
        name=field.name,
        kind="category" if is_category else "numeric",
        categories=categories,
        edges=(0.5,) if field.type == "bool" else (),
        low=field.low,
        high=field.high,
        slices={ALL: SliceCounts(cells=(0,) * (len(categories) + (3 if field.type == "bool" else 2)))},
    )
