"""`barograph baseline` on real ClickHouse: the baseline matches the events of its panes, or an error explains why."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from barograph.contract import Contract, Window
from barograph.contract.file import dump_contract

from cli.apply.catalogue import MIN_LEAD_S
from cli.baseline import counts, from_production
from cli.baseline.accept import AcceptedBaseline, AcceptRequest, accept
from cli.errors import EXIT_FAILED, EXIT_OK, CommandError
from cli.main import main
from cli.terminal import utc_second
from local.clickhouse import LocalClickHouse
from sketches.baseline.baseline import Baseline, dump_baseline, load_baseline
from sketches.baseline.bins import PsiBins
from sketches.baseline.layout import Layout
from sketches.drift.overdispersion import learn_phi, sparse_inflation
from sketches.drift.psi import psi_values
from streams.hour_of_week import compute_hours_of_week
from streams.monitor.partition import PartitionState
from streams.monitor.state.store import WarehouseStore
from streams.records import OffsetRange, Partial, PartitionProgress, Progress, decode
from streams.registry.registry import RegisteredBaseline, Registry, build_registry
from streams.sketcher.partial_messages import encode_partials
from streams.sketcher.summarise import FlushSummaries
from tests.support.monitor_schedule import PARTIALS_TOPIC, TOPIC, Event, baseline, columns, contract
from tests.support.warehouse import migrated
from warehouse import queries
from warehouse.client import Address, Client
from warehouse.tables import insert_rows

pytestmark = pytest.mark.engine

HOUR_S, DAY_S = 3_600, 86_400
DAYS = 24
# Tables expire old rows, so times are relative to the wall clock; whole weeks keep windows alike.
T0_S = (int(time.time()) - 40 * DAY_S) // (7 * DAY_S) * 7 * DAY_S
FROM_S, TO_S = T0_S + DAY_S, T0_S + 22 * DAY_S
NOW_S = float(T0_S + DAYS * DAY_S + 100)
ZONE = "Europe/Berlin"
OLD = baseline("m", "1")
CONTRACT = msgspec.structs.replace(
    contract("m", HOUR_S), windows=(Window(2 * HOUR_S, HOUR_S), Window(DAY_S, HOUR_S), Window(7 * DAY_S, DAY_S))
)


def make_events() -> list[Event]:
    """Three weeks with a shifted x, nulls, values out of range, and colours that training lacks."""
    rng = np.random.default_rng(20_260_301)
    events = []
    for hour in range(DAYS * 24):
        shift = 0.3 * rng.normal()
        for _ in range(int(rng.integers(5, 40))):
            at_ms = (T0_S + hour * HOUR_S) * 1000 + int(rng.integers(0, HOUR_S * 1000))
            x = None if rng.random() < 0.07 else float(np.float32(0.8 + shift + rng.normal()))
            colour = str(rng.choice(["red", "green", "blue", "violet"], p=[0.3, 0.3, 0.1, 0.3]))
            events.append(
                Event(
                    "m",
                    "1",
                    at_ms,
                    at_ms,
                    x,
                    None if rng.random() < 0.02 else colour,
                    str(rng.choice(["north", "south"])),
                    bool(rng.random() < 0.01),
                )
            )
    return sorted(events, key=lambda event: event.at_ms)


EVENTS = make_events()
GOOD = [event for event in EVENTS if FROM_S * 1000 <= event.at_ms < TO_S * 1000]


@dataclasses.dataclass
class World:
    """A database in which the monitor's code has written the panes of `EVENTS`."""

    client: Client
    address: Address
    state: PartitionState
    store: WarehouseStore

    def flush(
        self, registry: Registry, first: int, events: list[Event], offset: int, *, start: int | None = None
    ) -> int:
        """Process events as one flush; return the next offset of `partials`."""
        summaries = FlushSummaries(registry)
        summaries.add(columns("m", 0, [(first + i, event) for i, event in enumerate(events)]))
        end = first + len(events)
        begin = first if start is None else start
        for key, pane in summaries.panes.items():
            for data in encode_partials(key, pane, TOPIC, [OffsetRange(0, begin, end)]):
                partial = decode(data)
                assert isinstance(partial, Partial)
                assert self.state.merge_partial(partial, offset) is None
                offset += 1
        newest = max(event.at_ms for event in events)
        read = PartitionProgress(
            partition=0,
            start=begin,
            end=end,
            newest_ms={"m": newest},
            oldest_ms=events[0].at_ms,
            end_mark=False,
            caught_up_at_ms=newest,
        )
        commit, _ = self.state.apply_progress(
            Progress(source_topic_id=TOPIC, source_partitions=1, counted_at_ms=1, ranges=[read]), offset
        )
        if commit is not None:
            self.store.write(commit)
        return offset + 1


def register(client: Client, applied: Contract, *baselines: Baseline, effective_s: int = 0) -> Registry:
    insert_rows(
        client,
        "contracts",
        [
            {
                "model": applied.model,
                "contract_id": applied.id,
                "yaml": dump_contract(applied),
                "applied_at": T0_S * 1000,
            }
        ],
    )
    rows = [
        {
            "model": applied.model,
            "version": each.version,
            "baseline_id": each.id,
            "effective_from": effective_s * i,
            "body": dump_baseline(each).decode(),
            "reason": "test",
            "accepted_at": T0_S * 1000 + i,
        }
        for i, each in enumerate(baselines)
    ]
    insert_rows(client, "baselines", rows)
    entries = [RegisteredBaseline(each, each.id, effective_s * i, 1 + i) for i, each in enumerate(baselines)]
    return build_registry([(applied, T0_S * 1000)], entries)


def make_world(
    engine: LocalClickHouse,
    client: Client,
    applied: Contract,
    *baselines: Baseline,
    effective_s: int = 0,
    skip: int = 0,
    days: int = DAYS,
) -> World:
    """Process the events of the first days; optionally skip some in the middle."""
    registry = register(client, applied, *baselines, effective_s=effective_s)
    store = WarehouseStore(client)
    state = PartitionState(0, 1, PARTIALS_TOPIC, store, lambda: registry, live=False, write_s=0.0, revise_s=0.0)
    world = World(client, engine.address(client.database), state, store)
    offset = 0
    events = [event for event in EVENTS if event.at_ms < (T0_S + days * DAY_S) * 1000]
    for first in range(0, len(events), 2_000):
        lost = skip if first == 2_000 else 0
        offset = world.flush(registry, first + lost, events[first + lost : first + 2_000], offset)
    return world


@pytest.fixture(scope="module")
def world(engine: LocalClickHouse) -> Iterator[World]:
    with migrated(engine) as client:
        yield make_world(engine, client, CONTRACT, OLD)


@pytest.fixture
def fresh(world: World) -> World:
    """The world, with only the first baseline."""
    world.client.command("TRUNCATE TABLE baselines")
    world.client.command("TRUNCATE TABLE contracts")
    register(world.client, CONTRACT, OLD)
    return world


def accept_range(world: World, *, now_s: float = NOW_S, **changes: Any) -> AcceptedBaseline:
    request = AcceptRequest(model="m", version="1", from_s=FROM_S, to_s=TO_S, reason="a new  normal")
    return accept(world.address, dataclasses.replace(request, **changes), clock=lambda: now_s)


def x_cells(events: list[Event]) -> list[int]:
    values = [event.x for event in events]
    cell = [3 if x is None else int(np.searchsorted(OLD.fields[0].edges, x, side="right")) for x in values]
    counted: list[int] = np.bincount(cell, minlength=4).tolist()
    return counted


# ---------------------------------------------------------------------------------------------------- contents


def test_counts_and_moments_are_those_of_the_events(fresh: World) -> None:
    accepted = accept_range(fresh)
    new = accepted.learned.baseline
    assert accepted.completeness == 1
    assert (new.rows, accepted.old_id) == (len(GOOD), OLD.id)
    north = [event for event in GOOD if event.region == "north"]
    rows = {"all": len(GOOD), "region=north": len(north), "region=other": len(GOOD) - len(north)}
    # Training has no arms, so their slices are still compared with `all`.
    assert new.slice_rows == rows | {"arm=b": 0, "arm=other": 0}
    assert new.dimensions == OLD.dimensions
    x, colour = new.fields
    old = OLD.fields[0]
    assert old.low is not None
    assert old.high is not None
    assert (x.edges, x.low, x.high) == (old.edges, old.low, old.high)
    values = np.array([event.x for event in GOOD if event.x is not None])
    assert list(x.slices["all"].cells) == x_cells(GOOD)
    assert list(x.slices["region=north"].cells) == x_cells(north)
    assert (x.slices["all"].below, x.slices["all"].above) == (
        int((values < old.low).sum()),
        int((values > old.high).sum()),
    )
    assert x.mean == pytest.approx(values.mean(), rel=1e-9)
    assert x.std == pytest.approx(values.std(), rel=1e-9)
    # Quantiles come from sketches and are within their rank error.
    ranks = np.searchsorted(np.sort(values), x.quantiles) / len(values)
    assert np.abs(ranks - np.linspace(0, 1, 1001)).max() < 0.02
    assert (x.quantiles[0], x.quantiles[-1]) == (values.min(), values.max())
    named = [sum(event.colour == name for event in GOOD) for name in ("red", "green")]
    unseen = sum(event.colour in ("blue", "violet") for event in GOOD)
    null = sum(event.colour is None for event in GOOD)
    assert list(colour.slices["all"].cells) == [*named, unseen, null]
    assert colour.slices["all"].singletons == 0
    violet, blue = accepted.learned.unseen["colour"]
    assert (violet.value, violet.estimate) == ("violet", sum(event.colour == "violet" for event in GOOD))
    assert blue.value == "blue"
    assert accepted.learned.psi["x"] == pytest.approx(
        float(psi_values(np.array([300, 360, 240, 100]), np.array([x_cells(GOOD)]), [0])[0][0, 0])
    )
    assert new.source == (
        f"production from {utc_second(FROM_S)} to {utc_second(TO_S)}, on the bins of {OLD.id}: a new normal"
    )


def test_phi_is_learned_from_the_windows_in_the_range(fresh: World) -> None:
    """Compare with counts of the events, window by window."""
    new = accept_range(fresh).learned.baseline
    bins = PsiBins(Layout(new))
    shorter = None
    for window in CONTRACT.windows:
        length = window.length_s
        ids = range(-(-FROM_S // length), TO_S // length)
        by_id: dict[int, list[Event]] = {i: [] for i in ids}
        for event in GOOD:
            if event.at_ms // 1000 // length in by_id:
                by_id[event.at_ms // 1000 // length].append(event)
        counts = np.array([x_cells(events) for events in by_id.values()])
        group = bins.groups_in(0)[0]
        start = int(bins.starts[group])
        _, df, t, n = psi_values(bins.base_bins[start : start + 4], counts, [0])
        wide = np.zeros((len(n), bins.n_groups))
        wide[:, group] = n[:, 0]
        inflation = sparse_inflation(bins, wide)[group]
        shorter = learn_phi(t / inflation, df, n, shorter)
        phi = new.fields[0].slices["all"].phi[window.name]
        assert phi == shorter.of(0)
        assert new.fields[0].slices["region=north"].phi[window.name].windows == len(ids)
    flags = [new.fields[0].slices["all"].phi[window.name].flag for window in CONTRACT.windows]
    assert flags == ["ok", "ok", "shorter"]
    assert new.fields[0].slices["all"].phi["1d"].value > 1.3


@pytest.mark.parametrize("season", ["none", "hour_of_week"])
def test_chunk_sizes_do_not_change_the_baseline(fresh: World, monkeypatch: pytest.MonkeyPatch, season: str) -> None:
    seasonal = msgspec.structs.replace(CONTRACT, season=season, timezone=ZONE, windows=CONTRACT.windows[1:])
    insert_rows(
        fresh.client,
        "contracts",
        [{"model": "m", "contract_id": seasonal.id, "yaml": dump_contract(seasonal), "applied_at": T0_S * 1000 + 1}],
    )
    at_once = accept_range(fresh, dry_run=True).learned.baseline
    monkeypatch.setattr(counts, "CHUNK_COUNTS", 4_000)
    monkeypatch.setattr(from_production, "SKETCH_PANES", 7)
    in_pieces = accept_range(fresh, dry_run=True).learned.baseline
    for one, other in zip(at_once.fields, in_pieces.fields, strict=True):
        # Merging of sketches is randomized, so quantiles agree only within their error.
        assert msgspec.structs.replace(one, quantiles=()) == msgspec.structs.replace(other, quantiles=())


def test_a_seasonal_contract_gets_counts_by_hour_of_the_week(fresh: World) -> None:
    seasonal = msgspec.structs.replace(CONTRACT, season="hour_of_week", timezone=ZONE)
    insert_rows(
        fresh.client,
        "contracts",
        [{"model": "m", "contract_id": seasonal.id, "yaml": dump_contract(seasonal), "applied_at": T0_S * 1000 + 1}],
    )
    plain = accept_range(fresh, dry_run=True).learned.baseline
    assert plain.timezone == ZONE
    hours_of_week = compute_hours_of_week(np.array([event.at_ms // 1000 for event in GOOD]), HOUR_S, ZONE)
    for hour_of_week in (0, 50, 167):
        own_rows = [event for event, at in zip(GOOD, hours_of_week.tolist(), strict=True) if at == hour_of_week]
        (name,) = [name for i, name in enumerate(_hour_names()) if i == hour_of_week]
        assert list(plain.fields[0].hours_of_week[name]) == x_cells(own_rows)
        colours = plain.fields[1].hours_of_week[name]
        assert colours[-1] == sum(event.colour is None for event in own_rows)
        assert sum(colours) == len(own_rows)
    assert sum(map(sum, plain.fields[0].hours_of_week.values())) == len(GOOD)
    assert load_baseline(dump_baseline(plain), "b") == plain
    # φ is learned by hour, and three weeks have only a few observations of each hour.
    assert plain.fields[0].slices["all"].phi["2h"].windows > 200


def _hour_names() -> tuple[str, ...]:
    from sketches.baseline.baseline import HOUR_NAMES

    return HOUR_NAMES


def test_a_bin_that_has_become_heavy_is_reported(fresh: World) -> None:
    heavy = {each.label: each for each in accept_range(fresh, dry_run=True).learned.heavy_bins}
    cells = x_cells(GOOD)
    assert set(heavy) == {"≥ 0.5"}
    assert heavy["≥ 0.5"].now == pytest.approx(cells[2] / sum(cells))
    assert heavy["≥ 0.5"].before == pytest.approx(0.24)


# ---------------------------------------------------------------------------------------------------- effective time


def test_it_takes_effect_at_the_next_pane_after_the_lead_time(fresh: World) -> None:
    accepted = accept_range(fresh)
    assert accepted.change is not None
    expected = (int(NOW_S) + MIN_LEAD_S) // HOUR_S * HOUR_S + HOUR_S
    assert (accepted.change.effective_from_s, accepted.change.replaces) == (expected, OLD.id)
    first, second = queries.baselines(fresh.client, "m")
    assert (first.baseline_id, first.reason) == (OLD.id, "test")
    assert (second.baseline_id, second.reason) == (accepted.change.baseline_id, "a new  normal")
    assert second.effective_from.timestamp() == expected
    assert load_baseline(second.body.encode(), "b") == accepted.learned.baseline
    # The same request changes nothing, and another range gives another baseline.
    assert accept_range(fresh).change is None
    assert len(queries.baselines(fresh.client, "m")) == 2
    later = accept_range(fresh, from_s=FROM_S + DAY_S, effective_s=expected + HOUR_S)
    assert later.change is not None
    assert later.change.replaces == second.baseline_id


def test_a_dry_run_writes_nothing(fresh: World) -> None:
    accepted = accept_range(fresh, dry_run=True)
    assert accepted.change is not None
    assert [row.baseline_id for row in queries.baselines(fresh.client, "m")] == [OLD.id]


# ---------------------------------------------------------------------------------------------------- rejected requests


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": "n"}, "The model n has no applied contract; models with one: m."),
        ({"version": "2"}, "Version 2 of m has no baseline of its own; versions that have one: 1."),
        (
            {"from_s": FROM_S + 60},
            f"not a pane boundary of m, whose panes are 1h long: use {utc_second(FROM_S + HOUR_S)}.",
        ),
        ({"to_s": TO_S + 60}, f"use {utc_second(TO_S)}."),
        ({"from_s": TO_S}, "is not before --to"),
        ({"to_s": T0_S + 40 * DAY_S}, "Panes of m are sealed until"),
        ({"from_s": T0_S - 9 * DAY_S, "to_s": T0_S - 8 * DAY_S}, "No predictions of m version 1 were counted from"),
        ({"effective_s": int(NOW_S) // HOUR_S * HOUR_S}, "is in the past, or too soon"),
        ({"effective_s": T0_S + 50 * DAY_S + 1}, "is not the start of a pane of m"),
    ],
)
def test_an_impossible_request_is_rejected_with_an_explanation(
    fresh: World, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(CommandError) as raised:
        accept_range(fresh, **changes)
    assert sentence in str(raised.value)
    assert len(queries.baselines(fresh.client, "m")) == 1


def test_an_effective_time_in_sealed_panes_is_rejected(fresh: World) -> None:
    """A replay seals event times that are still ahead of the clock."""
    sealed_s = fresh.store.sealed_until_s("m")
    assert sealed_s is not None
    with pytest.raises(CommandError, match=r"Panes are already sealed until .*, but the baseline would apply from"):
        accept_range(fresh, now_s=T0_S + 5.0 * DAY_S)
    accepted = accept_range(fresh, now_s=T0_S + 5.0 * DAY_S, effective_s=sealed_s)
    assert accepted.change is not None


def test_a_baseline_before_an_accepted_one_is_rejected(fresh: World) -> None:
    accept_range(fresh, effective_s=T0_S + 60 * DAY_S)
    with pytest.raises(CommandError, match=r"takes effect at .*, later than this one"):
        accept_range(fresh, from_s=FROM_S + DAY_S, effective_s=T0_S + 59 * DAY_S)


def test_panes_of_several_baselines_are_rejected(engine: LocalClickHouse) -> None:
    change_s, to_s = T0_S + 6 * DAY_S, T0_S + 8 * DAY_S
    with migrated(engine) as client:
        later = baseline("m", "1", shift=0.5)
        result = make_world(engine, client, CONTRACT, OLD, later, effective_s=change_s, days=9)
        with pytest.raises(
            CommandError, match=r"counted on the bins of 2 baselines .*: use a range within one of them"
        ):
            accept_range(result, to_s=to_s)
        within = accept_range(result, to_s=change_s)
        assert within.old_id == OLD.id
        after = accept_range(result, from_s=change_s, to_s=to_s, dry_run=True)
        assert after.learned.baseline.fields[0].edges == (0.0, 1.0)


def test_a_range_with_losses_is_rejected_unless_allowed(engine: LocalClickHouse) -> None:
    to_s = T0_S + 5 * DAY_S
    good = [event for event in GOOD if event.at_ms < to_s * 1000]
    with migrated(engine) as client:
        result = make_world(engine, client, CONTRACT, OLD, skip=70, days=6)
        with pytest.raises(CommandError, match="70 offsets with possible predictions of the range were lost"):
            accept_range(result, to_s=to_s)
        accepted = accept_range(result, to_s=to_s, incomplete=True)
        assert accepted.completeness == pytest.approx((len(good) - 70) / len(good))
        assert accepted.learned.baseline.rows == len(good) - 70
        # A range without losses is complete.
        assert accept_range(result, to_s=FROM_S + 2 * DAY_S, dry_run=True).completeness == 1


# ---------------------------------------------------------------------------------------------------- commands


@pytest.fixture
def config(fresh: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    path = tmp_path / "barograph.toml"
    where = fresh.address
    monkeypatch.setenv("BAROGRAPH_CLICKHOUSE_PASSWORD", where.password)
    path.write_text(f'[clickhouse]\nhost = "{where.host}"\nport = {where.port}\ndatabase = "{where.database}"\n')
    return str(path)


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(["baseline", *words])
    printed = capsys.readouterr()
    return int(end.value.code or 0), printed.out, printed.err


def test_list_and_show(fresh: World, config: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    new = accept_range(fresh)
    assert new.change is not None
    code, out, _ = run(capsys, "list", "--model", "m", "--config", config)
    assert code == EXIT_OK
    assert OLD.id in out
    assert new.change.baseline_id in out
    assert "always" in out
    assert "a new  normal" in out
    code, out, _ = run(capsys, "list", "--json", "--config", config)
    first, second = json.loads(out)
    assert (first["id"], first["effective_from"], first["effective_until"]) == (
        OLD.id,
        None,
        utc_second(new.change.effective_from_s),
    )
    assert (second["rows"], second["source"]) == (len(GOOD), new.learned.baseline.source)
    code, out, _ = run(capsys, "show", new.change.baseline_id[:6], "--config", config)
    assert code == EXIT_OK
    for text in (f"{len(GOOD):,} rows", "region=north", "≥ 0.5", "φ 2h", "other"):
        assert text in out, text
    code, out, _ = run(capsys, "show", OLD.id, "--field", "x", "--config", config)
    assert "colour" not in out
    code, out, _ = run(capsys, "show", new.change.baseline_id, "--json", "--config", config)
    assert load_baseline(out.encode(), "shown") == new.learned.baseline
    code, _, err = run(capsys, "show", "zz", "--config", config)
    assert code == EXIT_FAILED
    assert "There is no baseline zz" in err
    code, _, err = run(capsys, "show", OLD.id, "--field", "y", "--config", config)
    assert "has no field y; its fields: x, colour" in err
    code, _, err = run(capsys, "list", "--model", "n", "--config", config)
    assert "There is no baseline of a model n" in err


def test_accept_prints_its_decisions(fresh: World, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    span = ("--from", utc_second(FROM_S), "--to", utc_second(TO_S))
    words = ("accept", "--model", "m", "--version", "1", *span, "--config", config)
    sealed_s = fresh.store.sealed_until_s("m")
    assert sealed_s is not None
    ahead_s = max(sealed_s, (int(time.time()) // HOUR_S + 2) * HOUR_S)
    code, out, err = run(capsys, *words, "--reason", "why", "--effective", utc_second(ahead_s), "--dry-run")
    assert (code, err) == (EXIT_OK, "")
    for text in (
        "! PSI above 0.1 against the previous baseline: x, colour.",
        "! x: the bin ≥ 0.5 has",
        "the most frequent violet (about ",
        f"~ baseline of m version 1: {len(GOOD):,} rows; replaces {OLD.id} from event time {utc_second(ahead_s)}",
        "Nothing was written.",
    ):
        assert text in out, text
    other = ("--from", utc_second(FROM_S - 99 * DAY_S), "--to", utc_second(FROM_S - DAY_S + HOUR_S))
    hour = (*words[:5], *other, *words[9:])
    code, out, _ = run(capsys, *hour, "--reason", "why", "--dry-run")
    for text in (
        f"! Only {utc_second(T0_S)} to {utc_second(T0_S + HOUR_S)} of the range has predictions.",
        "! x, colour: too few rows for verdicts.",
        "! φ of 2h, 1d, 7d windows is set to 1",
    ):
        assert text in out, out
    code, out, _ = run(capsys, *words, "--reason", "why", "--effective", utc_second(ahead_s))
    assert (code, "Accepted." in out) == (EXIT_OK, True)
    code, out, _ = run(capsys, *words, "--reason", "why", "--effective", utc_second(ahead_s))
    assert (code, "Nothing to do" in out) == (EXIT_OK, True)
    code, _, err = run(capsys, *words, "--reason", " ")
    assert (code, "--reason is empty" in err) == (EXIT_FAILED, True)
    code, _, err = run(capsys, *words[:5], "--from", "yesterday", *words[7:], "--reason", "why")
    assert (code, "--from yesterday is not a time" in err) == (EXIT_FAILED, True)
