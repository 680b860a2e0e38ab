"""`barograph baseline` on real ClickHouse: the baseline matches the events of its panes, or an error explains why."""

import dataclasses
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from barograph.contract import Window

from barograph_server.errors import EXIT_FAILED, EXIT_OK, CommandError
from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.provisioning.accepted_baselines import AcceptedBaseline, AcceptRequest, accept
from barograph_server.provisioning.catalogue import MIN_LEAD_S
from barograph_server.sketches.baseline.baseline import HOUR_NAMES, Baseline, SliceCounts, dump_baseline, load_baseline
from barograph_server.sketches.baseline.bins import PsiBins
from barograph_server.sketches.baseline.layout import Layout
from barograph_server.sketches.baseline.levels import LEVEL_NAMES
from barograph_server.sketches.drift.few_windows import p_values
from barograph_server.sketches.drift.overdispersion import learn_phi, sparse_inflation
from barograph_server.sketches.drift.psi import psi_values, psi_verdicts
from barograph_server.streams.hour_of_week import compute_hours_of_week
from barograph_server.streams.monitor.partition import Pace, PartitionState
from barograph_server.streams.monitor.state.store import WarehouseStore
from barograph_server.streams.records import OffsetRange, Partial, PartitionProgress, Progress, decode
from barograph_server.streams.registry.registry import RegisteredBaseline, Registry, build_registry
from barograph_server.streams.sketcher.partial_messages import encode_partials
from barograph_server.streams.sketcher.summarise import FlushSummaries
from barograph_server.terminal import utc_second
from barograph_server.warehouse import queries
from barograph_server.warehouse.client import Address, Client
from barograph_server.warehouse.tables import insert_rows
from tests.support import scoring
from tests.support.command_line import OutputOf
from tests.support.environment import enter_folder
from tests.support.monitor_schedule import PARTIALS_TOPIC, TOPIC, Event, baseline, columns, contract
from tests.support.pipeline import baseline_row
from tests.support.warehouse import migrated

HOUR_S, DAY_S = 3_600, 86_400
DAYS = 24
T0_S = (int(time.time()) - 40 * DAY_S) // (7 * DAY_S) * 7 * DAY_S
FROM_S, TO_S = T0_S + DAY_S, T0_S + 22 * DAY_S
NOW_S = float(T0_S + DAYS * DAY_S + 100)
ZONE = "Europe/Berlin"
OLD = baseline("m", "1")
CONTRACT = msgspec.structs.replace(
    contract("m", HOUR_S), windows=(Window(2 * HOUR_S, HOUR_S), Window(DAY_S, HOUR_S), Window(7 * DAY_S, DAY_S))
)


def make_events(seed: int, first_hour: int, last_hour: int, shift_x: float = 0.8) -> list[Event]:
    """Weeks with a shifted x, nulls, values out of range, and colours that training lacks."""
    rng = np.random.default_rng(seed)
    events = []
    for hour in range(first_hour, last_hour):
        shift = 0.3 * rng.normal()
        for _ in range(int(rng.integers(5, 40))):
            at_ms = (T0_S + hour * HOUR_S) * 1000 + int(rng.integers(0, HOUR_S * 1000))
            x = None if rng.random() < 0.07 else float(np.float32(shift_x + shift + rng.normal()))
            colour = str(rng.choice(["red", "green", "blue", "violet"], p=[0.3, 0.3, 0.1, 0.3]))
            known = None if rng.random() < 0.02 else colour
            region, failed = str(rng.choice(["north", "south"])), bool(rng.random() < 0.01)
            events.append(Event("m", "1", at_ms, at_ms, x, known, region, failed))
    return sorted(events, key=lambda event: event.at_ms)


EVENTS = make_events(20_260_301, 0, DAYS * 24)
GOOD = [event for event in EVENTS if FROM_S * 1000 <= event.at_ms < TO_S * 1000]


@dataclasses.dataclass
class World:
    """A database in which the monitor's code has written the panes of `EVENTS`."""

    client: Client
    address: Address
    registry: Registry
    store: WarehouseStore
    n_events: int = 0
    offset: int = 0
    """Next offset of `partials`."""

    def __post_init__(self) -> None:
        self.state = PartitionState(0, (PARTIALS_TOPIC, 1), self.store, lambda: self.registry, Pace(False, 0.0, 0.0))

    def flush_all(self, events: list[Event], *, skip: int = 0) -> None:
        """Process events in flushes of 2,000; optionally skip the first events of the second."""
        for first in range(0, len(events), 2_000):
            end = self.n_events + len(events[first : first + 2_000])
            lost = skip if first == 2_000 else 0
            self._flush(self.n_events + lost, end, events[first + lost : first + 2_000])
            self.n_events = end

    def _flush(self, begin: int, end: int, events: list[Event]) -> None:
        summaries = FlushSummaries(self.registry)
        summaries.add(columns("m", 0, list(enumerate(events, begin))))
        for key, pane in summaries.panes.items():
            for data in encode_partials(key, pane, TOPIC, [OffsetRange(0, begin, end)]):
                partial = decode(data)
                assert isinstance(partial, Partial)
                assert self.state.merge_partial(partial, self.offset) is None
                self.offset += 1
        newest = max(event.at_ms for event in events)
        times = {"newest_ms": {"m": newest}, "oldest_ms": events[0].at_ms, "caught_up_at_ms": newest}
        read = PartitionProgress(partition=0, start=begin, end=end, end_mark=False, **times)  # type: ignore[arg-type]
        progress = Progress(source_topic_id=TOPIC, source_partitions=1, counted_at_ms=1, ranges=[read])
        commit, _ = self.state.apply_progress(progress, self.offset)
        if commit is not None:
            self.store.write(commit)
        self.offset += 1


def register(client: Client, *baselines: Baseline, effective_s: int = 0) -> Registry:
    """Apply the contract and baselines, the second from a time on."""
    scoring.register(client, CONTRACT, applied_at=T0_S * 1000)
    entries = [RegisteredBaseline(each, each.id, effective_s * i, 1 + i) for i, each in enumerate(baselines)]
    rows = [baseline_row(each, effective_s * i, T0_S * 1000 + i) for i, each in enumerate(baselines)]
    insert_rows(client, "baselines", rows)
    return build_registry([(CONTRACT, T0_S * 1000)], entries)


def make_world(
    engine: LocalClickHouse, client: Client, *baselines: Baseline, effective_s: int = 0, skip: int = 0, days: int = DAYS
) -> World:
    """Process the events of the first days; optionally skip some in the middle."""
    registry = register(client, *baselines, effective_s=effective_s)
    world = World(client, engine.address(client.database), registry, WarehouseStore(client))
    world.flush_all([event for event in EVENTS if event.at_ms < (T0_S + days * DAY_S) * 1000], skip=skip)
    return world


@pytest.fixture(scope="module")
def world(engine: LocalClickHouse) -> Iterator[World]:
    with migrated(engine) as client:
        yield make_world(engine, client, OLD)


@pytest.fixture
def fresh(world: World) -> World:
    """The world, with only the first baseline."""
    world.client.command("TRUNCATE TABLE baselines")
    world.client.command("TRUNCATE TABLE contracts")
    register(world.client, OLD)
    return world


def accept_range(world: World, *, now_s: float = NOW_S, **changes: Any) -> AcceptedBaseline:
    request = AcceptRequest(model="m", version="1", from_s=FROM_S, to_s=TO_S, reason="a new  normal")
    return accept(world.address, dataclasses.replace(request, **changes), clock=lambda: now_s)


def sealed_until_s(world: World) -> int:
    sealed_s = world.store.sealed_until_s("m")
    assert sealed_s is not None
    return sealed_s


def x_cells(events: list[Event], edges: Sequence[float] = OLD.fields[0].edges) -> list[int]:
    null = len(edges) + 1
    cell = [null if event.x is None else int(np.searchsorted(edges, event.x, side="right")) for event in events]
    counted: list[int] = np.bincount(cell, minlength=null + 1).tolist()
    return counted


def test_counts_moments_and_new_bins_are_those_of_the_events(fresh: World) -> None:
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
    assert (x.low, x.high) == (old.low, old.high)
    valid = x_cells(GOOD)[:-1]
    (heavy,) = accepted.learned.new_bins
    assert (heavy.field, heavy.label, accepted.learned.heavy_bins) == ("x", "≥ 0.5", ())
    assert (heavy.now, heavy.before) == pytest.approx((valid[2] / sum(valid), 240 / 900))
    values = np.array([event.x for event in GOOD if event.x is not None])
    for name, events in (("all", GOOD), ("region=north", north)):
        cells, exact = np.array(x.slices[name].cells), np.array(x_cells(events, x.edges))
        # The rows of the new bins come from sketches.
        assert cells[:-1].max() <= 0.2 * cells[:-1].sum()
        assert np.abs(cells - exact).max() < 0.0165 * len(events)
        assert (cells.sum(), cells[-1]) == (exact.sum(), exact[-1])
        assert x.slices[name].noise == pytest.approx((len(x.edges) + 2) / 110_000)
    assert (x.slices["all"].below, x.slices["all"].above) == ((values < old.low).sum(), (values > old.high).sum())
    assert (x.mean, x.std) == pytest.approx((values.mean(), values.std()), rel=1e-9)
    # Quantiles come from sketches and are within their rank error.
    ranks = np.searchsorted(np.sort(values), x.quantiles) / len(values)
    assert np.abs(ranks - np.linspace(0, 1, 1001)).max() < 0.02
    assert x.quantile_error == pytest.approx(0.0133, rel=0.01)
    assert (x.quantiles[0], x.quantiles[-1]) == (values.min(), values.max())
    colours = Counter(event.colour for event in GOOD)
    of_colours = (colours["red"], colours["green"], colours["blue"] + colours["violet"], colours[None])
    assert (colour.slices["all"].cells, colour.slices["all"].singletons) == (of_colours, 0)
    violet, blue = accepted.learned.unseen["colour"]
    assert (violet.value, violet.estimate, blue.value) == ("violet", colours["violet"], "blue")
    assert accepted.learned.psi["x"] == pytest.approx(
        float(psi_values(np.array([300, 360, 240, 100]), np.array([x_cells(GOOD)]), [0])[0][0, 0])
    )
    assert new.source == (
        f"production from {utc_second(FROM_S)} to {utc_second(TO_S)}, counted with {OLD.id}: a new normal"
    )


def test_phi_is_learned_from_the_windows_in_the_range(fresh: World) -> None:
    """Compare with counts of the events on the old bins, window by window. It is rough on new bins."""
    new = accept_range(fresh).learned.baseline
    exact = SliceCounts(cells=tuple(x_cells(GOOD)))
    x = msgspec.structs.replace(OLD.fields[0], slices=OLD.fields[0].slices | {"all": exact})
    bins = PsiBins(Layout(msgspec.structs.replace(OLD, fields=(x, OLD.fields[1]))))
    shorter = None
    for window in CONTRACT.windows:
        length = window.length_s
        ids = range(-(-FROM_S // length), TO_S // length)
        counts = np.array([x_cells([event for event in GOOD if event.at_ms // 1000 // length == i]) for i in ids])
        group = bins.groups_in(0)[0]
        start = int(bins.starts[group])
        _, df, t, n = psi_values(bins.base_bins[start : start + 4], counts, [0])
        wide = np.zeros((len(n), bins.n_groups))
        wide[:, group] = n[:, 0]
        inflation = sparse_inflation(bins, wide)[group]
        m = bins.base_bins[start : start + 4].sum()
        shorter = learn_phi(t * (m + n) / (m - n) / inflation, df, n, shorter)
        phi = new.fields[0].slices["all"].phi[window.name]
        learned = shorter.of(0)
        flag = "rough" if learned.flag == "ok" else learned.flag
        assert (phi.value, phi.nu, phi.windows, phi.flag) == (learned.value, learned.nu, learned.windows, flag)
        assert new.fields[0].slices["region=north"].phi[window.name].windows == len(ids)
    flags = [new.fields[0].slices["all"].phi[window.name].flag for window in CONTRACT.windows]
    assert flags == ["rough", "rough", "shorter"]
    assert new.fields[1].slices["all"].phi["1d"].flag == "ok"
    assert new.fields[0].slices["all"].phi["1d"].value > 1.3


def test_a_seasonal_contract_gets_counts_by_hour_of_the_week(fresh: World) -> None:
    seasonal = msgspec.structs.replace(CONTRACT, season="hour_of_week", timezone=ZONE)
    scoring.register(fresh.client, seasonal, applied_at=T0_S * 1000 + 1)
    plain = accept_range(fresh, dry_run=True).learned.baseline
    assert plain.timezone == ZONE
    hours_of_week = compute_hours_of_week(np.array([event.at_ms // 1000 for event in GOOD]), HOUR_S, ZONE)
    for hour_of_week in (0, 50, 167):
        own_rows = [event for event, at in zip(GOOD, hours_of_week.tolist(), strict=True) if at == hour_of_week]
        name = HOUR_NAMES[hour_of_week]
        # An hour of the week has so few rows that its sketch retains all values.
        assert list(plain.fields[0].hours_of_week[name]) == x_cells(own_rows, plain.fields[0].edges)
        colours = plain.fields[1].hours_of_week[name]
        assert colours[-1] == sum(event.colour is None for event in own_rows)
        assert sum(colours) == len(own_rows)
    assert sum(map(sum, plain.fields[0].hours_of_week.values())) == len(GOOD)
    assert load_baseline(dump_baseline(plain), "b") == plain
    # φ is learned by hour, and three weeks have only a few observations of each hour.
    assert plain.fields[0].slices["all"].phi["2h"].windows > 200


def test_windows_are_counted_on_the_new_bins_and_a_second_acceptance_makes_them_exact(
    engine: LocalClickHouse, client: Client
) -> None:
    change_s, to_s = T0_S + 12 * DAY_S + 2 * HOUR_S, T0_S + 16 * DAY_S
    world = make_world(engine, client, OLD, days=12)
    accepted = accept_range(world, to_s=T0_S + 10 * DAY_S, effective_s=change_s, now_s=change_s - HOUR_S)
    new = accepted.learned.baseline
    entries = [RegisteredBaseline(OLD, OLD.id, 0, 1), RegisteredBaseline(new, new.id, change_s, 2)]
    world.registry = build_registry([(CONTRACT, T0_S * 1000)], entries)
    later = make_events(20_260_302, 12 * 24, 16 * 24) + make_events(20_260_303, 16 * 24, 18 * 24, shift_x=2.0)
    world.flush_all(later)
    events = [event for event in later if event.at_ms >= change_s * 1000]
    edges, window = new.fields[0].edges, "1d"
    rows = client.rows(
        "SELECT slice, toUnixTimestamp(window_start), toUnixTimestamp(window_end), psi, psi_low, p_value, level, n "
        "FROM latest_drift WHERE field = 'x' AND baseline_id = {id:String} AND window = {window:String} "
        f"AND slice IN ('all', 'region=north') AND window_start >= {change_s} AND n > 0 ORDER BY ALL",
        {"id": new.id, "window": window},
    )
    assert {row[0] for row in rows} == {"all", "region=north"}
    levels: dict[str, set[str]] = {"quiet": set(), "shifted": set()}
    for name, start_s, end_s, *verdict in rows:
        of_window = [event for event in events if start_s * 1000 <= event.at_ms < end_s * 1000]
        counts = x_cells([event for event in of_window if name == "all" or event.region == "north"], edges)
        base = new.fields[0].slices[name]
        phi = base.phi[window]
        expected = psi_verdicts(base.cells, counts, [0], phi=phi.value, nu=phi.nu or np.inf, noise=base.noise)
        bins = PsiBins(Layout(new))
        of_x = bins.groups_in(bins.layout.slices.index(name))[0]
        p = p_values(expected, bins.select(np.arange(bins.n_groups) == of_x), window, np.array([phi.value]))
        level = LEVEL_NAMES[int(expected.level.item())]
        # The monitor's verdict is that of a recount, to the bit.
        assert verdict == [expected.psi.item(), expected.low.item(), p.item(), level, sum(counts)]
        levels["quiet" if end_s <= to_s else "shifted"].add(level)
    assert levels["quiet"] <= {"stable", "insufficient"}
    assert "major" in levels["shifted"]
    # Counts on the new bins replace the shares from sketches.
    sealed_s = sealed_until_s(world)
    exact = accept_range(world, from_s=change_s, to_s=to_s, effective_s=sealed_s + HOUR_S, now_s=float(sealed_s))
    x = exact.learned.baseline.fields[0]
    assert (exact.old_id, x.edges, x.has_sketched_bins, exact.learned.new_bins) == (new.id, edges, False, ())
    assert list(x.slices["all"].cells) == x_cells([event for event in events if event.at_ms < to_s * 1000], edges)


def test_it_takes_effect_at_the_next_pane_after_the_lead_time(fresh: World) -> None:
    assert accept_range(fresh, dry_run=True).change is not None
    assert [row.baseline_id for row in queries.baselines(fresh.client, "m")] == [OLD.id]
    accepted = accept_range(fresh)
    assert accepted.change is not None
    expected = (int(NOW_S) + MIN_LEAD_S) // HOUR_S * HOUR_S + HOUR_S
    assert (accepted.change.effective_from_s, accepted.change.replaces) == (expected, OLD.id)
    stored = queries.baselines(fresh.client, "m")
    reasons = [(OLD.id, "test"), (accepted.change.baseline_id, "a new  normal")]
    assert [(row.baseline_id, row.reason) for row in stored] == reasons
    second = stored[-1]
    assert second.effective_from.timestamp() == expected
    assert load_baseline(second.body.encode(), "b") == accepted.learned.baseline
    # The same request changes nothing, and another range gives another baseline.
    assert accept_range(fresh).change is None
    assert len(queries.baselines(fresh.client, "m")) == 2
    later = accept_range(fresh, from_s=FROM_S + DAY_S, effective_s=expected + HOUR_S)
    assert later.change is not None
    assert later.change.replaces == second.baseline_id


def test_an_impossible_request_is_rejected_with_an_explanation(fresh: World) -> None:
    requests: tuple[tuple[dict[str, Any], str], ...] = (
        ({"model": "n"}, "The model n has no applied contract; models with one: m."),
        ({"version": "2"}, "Version 2 of m has no baseline of its own; versions that have one: 1."),
        (
            {"from_s": FROM_S + 60},
            f"not a pane boundary of m, whose panes are 1h long: use {utc_second(FROM_S + HOUR_S)}.",
        ),
        ({"from_s": T0_S - 9 * DAY_S, "to_s": T0_S - 8 * DAY_S}, "No predictions of m version 1 were counted from"),
        ({"effective_s": int(NOW_S) // HOUR_S * HOUR_S}, "is in the past, or too soon"),
        # A replay seals event times that are still ahead of the clock.
        ({"now_s": T0_S + 5.0 * DAY_S}, ", but the baseline would apply from "),
    )
    for changes, sentence in requests:
        with pytest.raises(CommandError) as raised:
            accept_range(fresh, **changes)
        assert sentence in str(raised.value), changes
    assert len(queries.baselines(fresh.client, "m")) == 1
    assert accept_range(fresh, now_s=T0_S + 5.0 * DAY_S, effective_s=sealed_until_s(fresh)).change is not None
    later_s = T0_S + 60 * DAY_S
    accept_range(fresh, from_s=FROM_S + DAY_S, effective_s=later_s)
    with pytest.raises(CommandError, match=r"takes effect at .*, later than this one"):
        accept_range(fresh, from_s=FROM_S + 2 * DAY_S, effective_s=later_s - DAY_S)


def test_panes_of_several_baselines_are_rejected(engine: LocalClickHouse, client: Client) -> None:
    change_s, to_s = T0_S + 6 * DAY_S, T0_S + 8 * DAY_S
    later = baseline("m", "1", shift=0.5)
    result = make_world(engine, client, OLD, later, effective_s=change_s, days=9)
    with pytest.raises(CommandError, match=r"on the bins of 2 baselines .*: use a range within one of them"):
        accept_range(result, to_s=to_s)
    assert accept_range(result, to_s=change_s).old_id == OLD.id
    assert accept_range(result, from_s=change_s, to_s=to_s, dry_run=True).old_id == later.id


def test_losses_are_rejected_unless_allowed_and_without_all_sketches_bins_stay(
    engine: LocalClickHouse, client: Client
) -> None:
    to_s, lost = T0_S + 5 * DAY_S, range(2_000, 2_070)
    good = [event for event in GOOD if event.at_ms < to_s * 1000]
    result = make_world(engine, client, OLD, skip=len(lost), days=6)
    with pytest.raises(CommandError, match="70 offsets with possible predictions of the range were lost"):
        accept_range(result, to_s=to_s)
    accepted = accept_range(result, to_s=to_s, incomplete=True, dry_run=True)
    assert accepted.completeness == pytest.approx((len(good) - 70) / len(good))
    assert accepted.learned.baseline.rows == len(good) - 70
    # A range without losses is complete.
    assert accept_range(result, to_s=FROM_S + 2 * DAY_S, dry_run=True).completeness == 1
    client.command(
        "INSERT INTO panes SELECT * REPLACE ('' AS sketch, record_seq + 1 AS record_seq) FROM panes FINAL "
        f"WHERE field = 'x' AND pane_start = {FROM_S}"
    )
    learned = accept_range(result, to_s=to_s, incomplete=True, dry_run=True).learned
    assert (learned.new_bins, [each.label for each in learned.heavy_bins]) == ((), ["≥ 0.5"])
    x = learned.baseline.fields[0]
    assert (x.edges, x.has_sketched_bins) == (OLD.fields[0].edges, False)
    counted = [event for i, event in enumerate(EVENTS) if FROM_S <= event.at_ms // 1000 < to_s and i not in lost]
    assert list(x.slices["all"].cells) == x_cells(counted)


@pytest.fixture
def run(fresh: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output_of: OutputOf) -> OutputOf:
    enter_folder(tmp_path, monkeypatch, fresh.address)
    return lambda *words, code=EXIT_OK: output_of(code, "baseline", *words)


def test_list_and_show(fresh: World, run: OutputOf) -> None:
    new = accept_range(fresh)
    assert new.change is not None
    listed = run("list", "--model", "m")
    for text in (OLD.id, new.change.baseline_id, "always", "a new  normal"):
        assert text in listed, text
    first, second = json.loads(run("list", "--format", "json"))
    until = new.change.effective_from_s
    assert (first["baseline_id"], first["until_s"]) == (OLD.id, until)
    assert (second["rows"], second["source"]) == (len(GOOD), new.learned.baseline.source)
    shown = run("show", new.change.baseline_id[:6])
    for text in (f"{len(GOOD):,} rows", "region=north", "x: shares of bins come from sketches", "φ 2h", "other"):
        assert text in shown, text
    assert "colour" not in run("show", OLD.id, "--field", "x")
    shown = run("show", new.change.baseline_id, "--format", "json")
    assert load_baseline(shown.encode(), "shown") == new.learned.baseline
    assert "There is no baseline zz" in run("show", "zz", code=EXIT_FAILED)


def test_accept_prints_its_decisions(fresh: World, run: OutputOf) -> None:
    effective = utc_second(max(sealed_until_s(fresh), (int(time.time()) // HOUR_S + 2) * HOUR_S))

    def accepted(*words: str, begin: str = utc_second(FROM_S), end_s: int = TO_S, code: int = EXIT_OK) -> str:
        span = ("--from", begin, "--to", utc_second(end_s))
        return run("accept", "--model", "m", "--version", "1", *span, *words, code=code)

    printed = accepted("--reason", "why", "--effective", effective, "--dry-run")
    for text in (
        "! PSI above 0.1 against the previous baseline: x, colour.",
        "~ x: new bins, because ≥ 0.5 has",
        "! x: shares of bins come from sketches",
        "the most frequent violet (about ",
        f"~ baseline of m version 1: {len(GOOD):,} rows; replaces {OLD.id} from event time {effective}",
        "Nothing was written.",
    ):
        assert text in printed, text
    long_ago = utc_second(FROM_S - 99 * DAY_S)
    printed = accepted("--reason", "why", "--dry-run", begin=long_ago, end_s=FROM_S - DAY_S + HOUR_S)
    for text in (
        f"! Only {utc_second(T0_S)} to {utc_second(T0_S + HOUR_S)} of the range has predictions.",
        "! x, colour: too few rows for verdicts.",
        "! φ of 2h, 1d, 7d windows is set to 1",
    ):
        assert text in printed, text
    for outcome in ("Accepted.", "Nothing to do"):
        assert outcome in accepted("--reason", "why", "--effective", effective)
    assert "--reason is empty" in accepted("--reason", " ", code=EXIT_FAILED)
    assert "--from yesterday is not a time" in accepted("--reason", "why", begin="yesterday", code=EXIT_FAILED)
