"""The views on volume, on the real engine: sums without duplicates, gaps between sequence numbers, and silence."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from barograph.contract import Contract
from barograph.contract.file import dump_contract

from barograph_server.warehouse.client import Client
from barograph_server.warehouse.tables import insert_rows
from tests.support.warehouse import row

pytestmark = pytest.mark.engine
NOW_S = int(datetime.now(UTC).timestamp())
HOUR_S = NOW_S // 3600 * 3600
DAY_S = 86_400
EPOCH = 1 << 48


def write(client: Client, table: str, rows: Sequence[dict[str, Any]]) -> None:
    """Insert each row on its own, so that only merges and FINAL can replace one by another."""
    for one in rows:
        insert_rows(client, table, [one])


def arrived(
    producer: str, pane_s: int, n: int, first: int, last: int, record_seq: int, model: str = "m"
) -> dict[str, Any]:
    return row(
        "producers",
        **{"model": model, "producer": producer, "pane_start": pane_s, "pane_s": 60, "n": n, "record_seq": record_seq},
        **{"first_seq": first, "last_seq": last},
    )


def volume(pane_start: int, n: int, **values: Any) -> dict[str, Any]:
    known = {"model": "m", "version": "1", "baseline_id": "b", "slice": "all", "pane_s": 60, "sealed": True}
    return row("volume", **known | values, pane_start=pane_start, n=n)


def applied(client: Client, model: str, raw_share: float = 1.0) -> None:
    yaml = dump_contract(Contract(model=model, raw_share=raw_share))
    insert_rows(client, "contracts", [row("contracts", model=model, yaml=yaml, applied_at=NOW_S * 1000)])


def test_kinds_of_errors_add_up_over_records_and_not_over_repeats(client: Client) -> None:
    known = {"model": "m", "version": "1", "baseline_id": "b", "slice": "all", "pane_start": HOUR_S, "pane_s": 60}
    counted = [
        row("errors", **known, kind=kind, n=n, record_seq=record_seq)
        for kind, n, record_seq in (("TimeoutError", 3, 7), ("TimeoutError", 4, EPOCH), ("ValueError", 1, 7))
    ]
    write(client, "errors", [*counted, counted[0], counted[1]])
    expected = [("TimeoutError", 7, HOUR_S + 60), ("ValueError", 1, HOUR_S + 60)]
    for _ in range(2):
        assert client.rows("SELECT kind, n, toUnixTimestamp(pane_end) FROM errors_by_kind ORDER BY kind") == expected
        client.command("OPTIMIZE TABLE errors FINAL")
    assert client.rows("SELECT count() FROM errors") == [(3,)]


def test_dead_letters_add_up_over_records_and_not_over_repeats(client: Client) -> None:
    counted = [
        row("dead_letter_counts", topic="predictions", model=model, reason="not-json", hour=HOUR_S, n=n, **position)
        for model, n, position in (
            ("", 3, {"record_seq": 7}),
            ("", 4, {"record_seq": 8}),
            # Another partition's records may have the same place.
            ("", 5, {"record_seq": 8, "partials_partition": 1}),
            ("m", 1, {"record_seq": 8}),
        )
    ]
    write(client, "dead_letter_counts", counted * 2)
    assert client.rows("SELECT topic, model, reason, toUnixTimestamp(hour), n FROM dead_letters ORDER BY model") == [
        ("predictions", "", "not-json", HOUR_S, 12),
        ("predictions", "m", "not-json", HOUR_S, 1),
    ]


def test_volume_by_hour_adds_up_panes_baselines_and_revisions(client: Client) -> None:
    write(
        client,
        "volume",
        [
            volume(HOUR_S, 10, errors=1, timed=8, slow=2, late=1, record_seq=1),
            volume(HOUR_S, 12, errors=1, timed=10, slow=2, late=3, record_seq=2),
            volume(HOUR_S + 60, 4, timed=2, slow=1, baseline_id="c"),
            volume(HOUR_S + 120, 0, sealed=False),
            volume(HOUR_S + 3600, 0),
            volume(HOUR_S, 9, slice="arm=a"),
        ],
    )
    result = client.rows(
        "SELECT toUnixTimestamp(hour), requests, errors, error_rate, timed, slow, slow_share, late, sealed "
        "FROM volume_by_hour WHERE model = 'm' AND slice = 'all' ORDER BY hour"
    )
    assert result[0] == (HOUR_S, 16, 1, 1 / 16, 12, 3, 0.25, 3, False)
    assert result[1][:3] == (HOUR_S + 3600, 0, 0)
    assert math.isnan(result[1][3])
    assert math.isnan(result[1][6])
    shares = client.rows("SELECT n, slow, slow_share FROM all_volume WHERE slice = 'all' AND timed ORDER BY n")
    assert shares == [(4, 1, 0.5), (12, 2, 0.2)]


def gaps(client: Client) -> dict[tuple[str, str], tuple[Any, ...]]:
    result = client.rows(
        "SELECT model, producer, received, start_seq, first_seq, last_seq, lost, lost_share, models, unattributed "
        "FROM producer_gaps"
    )
    return {(model, producer): tuple(rest) for model, producer, *rest in result}


def missing(client: Client, producer: str) -> list[tuple[int, int]]:
    result = client.rows(
        "SELECT toUnixTimestamp(pane_start), missing FROM producer_panes WHERE producer = {p:String} "
        "ORDER BY pane_start",
        {"p": producer},
    )
    return [(at - HOUR_S, n) for at, n in result]


def test_gaps_in_the_numbers_of_a_producer_are_losses(client: Client) -> None:
    rows = [
        # 2 to 9 and 12 are missing; the second record brings 3, late.
        arrived("p", HOUR_S, 2, 0, 1, 5),
        arrived("p", HOUR_S + 60, 3, 10, 13, 6),
        arrived("p", HOUR_S + 120, 1, 3, 3, 7),
        arrived("q", HOUR_S, 5, 0, 4, 5),
        arrived("q", HOUR_S + 60, 2, 5, 6, 8),
    ]
    write(client, "producers", [*rows, rows[1]])
    assert gaps(client) == {("m", "p"): (6, 0, 0, 13, 8, 8 / 14, 1, 0), ("m", "q"): (7, 0, 0, 6, 0, 0.0, 1, 0)}
    assert missing(client, "p") == [(0, 0), (60, 9), (120, -1)]
    assert missing(client, "q") == [(0, 0), (60, 0)]


def test_a_producer_older_than_retention_is_counted_from_its_first_number(client: Client) -> None:
    old_s = HOUR_S - 30 * DAY_S + 2 * 3600
    write(client, "producers", [arrived("p", old_s, 10, 500, 509, 1), arrived("p", HOUR_S, 1, 511, 511, 2)])
    assert gaps(client)["m", "p"][:5] == (11, 500, 500, 511, 1)
    assert missing(client, "p") == [(old_s - HOUR_S, 0), (0, 1)]


def test_sequence_numbers_across_models_count_no_loss_of_one_model(client: Client) -> None:
    long_ago = arrived("p", HOUR_S - 31 * DAY_S, 1, 2, 2, 1, model="o")
    write(
        client, "producers", [arrived("p", HOUR_S, 1, 0, 0, 1), arrived("p", HOUR_S, 1, 1, 1, 1, model="n"), long_ago]
    )
    assert gaps(client) == {("m", "p"): (1, 0, 0, 0, None, None, 2, 0), ("n", "p"): (1, 0, 1, 1, None, None, 2, 0)}


def totals(client: Client) -> dict[tuple[str, str], tuple[Any, ...]]:
    result = client.rows("SELECT model, producer, received, lost, lost_share, models FROM producer_totals")
    return {(model, producer): tuple(rest) for model, producer, *rest in result}


def test_totals_of_all_producers_are_gaps_from_a_projection(client: Client) -> None:
    long_ago = arrived("r", HOUR_S - 31 * DAY_S, 1, 2, 2, 1)
    rows = [
        arrived("p", HOUR_S - 60, 4, 0, 3, 5),
        arrived("p", HOUR_S, 2, 8, 9, 6),
        arrived("q", HOUR_S, 1, 0, 0, 5),
        arrived("q", HOUR_S, 1, 1, 1, 5, model="n"),
        arrived("other", HOUR_S, 9, -1, -1, 1),
        long_ago,
    ]
    write(client, "producers", rows)
    result = totals(client)
    assert result == {("m", "p"): (6, 4, 0.4, 1), ("m", "q"): (1, None, None, 2), ("n", "q"): (1, None, None, 2)}
    assert {key: (row[0], row[4], row[5], row[6]) for key, row in gaps(client).items()} == result
    plan = client.rows("EXPLAIN SELECT * FROM producer_totals")
    assert "ReadFromMergeTree (totals)" in "\n".join(line for (line,) in plan)


def test_heartbeats_reveal_what_no_later_event_does(client: Client) -> None:
    def beat(producer: str, last: int, queued: int, ended: bool, at_s: int = NOW_S, **values: Any) -> dict[str, Any]:
        known = {"model": "m", "since": at_s - 60, "at": at_s, "discarded": {}, "record_seq": 2, **values}
        return row("heartbeats", producer=producer, last_seq=last, queued=queued, ended=ended, **known)

    old_s, ago_s, names = NOW_S - 601, NOW_S - 2 * 3600, ("live", "ended", "killed", "nothing came", "long ago")
    write(client, "producers", [arrived(name, ago_s, 4, 0, 3, 5) for name in names[:3]])
    rows = [beat("live", 9, 6, False), beat("ended", 9, 6, False), beat("killed", 7, 3, False, old_s)]
    rows += [beat("nothing came", 4, 0, True), beat("long ago", 4, 0, True, since=NOW_S - 40 * DAY_S)]
    write(client, "heartbeats", [*rows, beat("ended", 10, 0, True, record_seq=3), *rows])
    expected = {"live": (0, "live", 6), "ended": (7, "ended", 0), "killed": (4, "silent", 3)}
    expected |= {"nothing came": (5, "ended", 0), "long ago": (0, "ended", 0)}
    for view in ("producer_gaps", "producer_totals"):
        result = client.rows(f"SELECT producer, (lost, state, queued) FROM {view}")
        assert {name: tuple(values) for name, values in result} == expected
    for name, (lost, *_) in expected.items():
        assert sum(n for _, n in missing(client, name)) == lost


def test_events_of_pooled_producers_make_losses_uncertain(client: Client) -> None:
    write(client, "producers", [arrived("p", HOUR_S, 1, 0, 4, 1), arrived("other", HOUR_S, 9, -1, -1, 1)])
    assert gaps(client) == {("m", "p"): (1, 0, 0, 4, 4, 0.8, 1, 9)}


def test_panes_add_up_to_the_loss_whatever_comes_in_whatever_order(client: Client) -> None:
    rng = random.Random(5)
    rows, truth = [], {}
    for producer in ("p", "q", "r"):
        retained = [seq for seq in range(400) if rng.random() < 0.9]
        truth[producer] = retained[-1] + 1 - len(retained)
        panes: dict[tuple[int, int], list[int]] = {}
        for seq in retained:
            panes.setdefault((max(0, seq // 40 + rng.choice([0, 0, 0, -1, 2])), rng.randrange(3)), []).append(seq)
        rows += [
            arrived(producer, HOUR_S + 60 * at, len(seqs), min(seqs), max(seqs), record_seq)
            for (at, record_seq), seqs in panes.items()
        ]
    insert_rows(client, "producers", rows)
    assert {producer: result[4] for (_, producer), result in gaps(client).items()} == truth
    for producer, lost in truth.items():
        assert sum(n for _, n in missing(client, producer)) == lost


def prediction(i: int, event_id: str, at_s: int = HOUR_S, **values: Any) -> dict[str, Any]:
    known = {"model": "m", "version": "1", "received_at": NOW_S * 1000}
    return row("predictions", **known | values, offset=i, id=event_id, at=at_s * 1000)


def duplicates(client: Client) -> list[tuple[Any, ...]]:
    return client.rows(
        "SELECT model, version, toUnixTimestamp(hour) - {h:Int64}, counted, recorded, ids, repeats, repeat_rate, "
        "raw_share "
        "FROM duplicates ORDER BY model, version, hour",
        {"h": HOUR_S},
    )


def test_the_same_id_of_the_same_version_is_a_repeat(client: Client) -> None:
    applied(client, "m")
    rows = [
        prediction(0, "a"),
        prediction(1, "b"),
        prediction(2, "a", HOUR_S + 5),
        # A shadow shares the id; another hour is looked at by itself.
        prediction(3, "a", version="2"),
        prediction(4, "a", HOUR_S + 3600),
    ]
    # What the recorder reads again replaces itself and is no repeat.
    write(client, "predictions", [*rows, rows[0]])
    write(client, "volume", [volume(HOUR_S, 2), volume(HOUR_S + 60, 1), volume(HOUR_S + 3600, 1)])
    assert duplicates(client) == [
        ("m", "1", 0, 3, 3, 2, 1, 1 / 3, 1.0),
        ("m", "1", 3600, 1, 1, 1, 0, 0.0, 1.0),
        ("m", "2", 0, 0, 1, 1, 0, 0.0, 1.0),
    ]


def test_where_no_raw_event_is_kept_repeats_are_not_known(client: Client) -> None:
    applied(client, "m", 0.0)
    write(client, "volume", [volume(HOUR_S, 5), volume(HOUR_S + 3600, 0)])
    assert duplicates(client) == [("m", "1", 0, 5, 0, 0, None, None, 0.0)]


def silence(client: Client) -> dict[str, tuple[Any, ...]]:
    result = client.rows("SELECT model, state, usual_n, usual_gap_s, silent_s FROM silence")
    return {model: tuple(rest) for model, *rest in result}


def history(model: str, last_s: int, n: int, *, days: float = 8, step: int = 1) -> list[dict[str, Any]]:
    """Hourly panes up to one that ends at `last_s`; one in `step` has events."""
    ends = [last_s - i * 3600 for i in range(int(days * 24))]
    return [
        volume(end - 3600, n if i % step == 0 else 0, model=model, pane_s=3600, record_seq=1)
        for i, end in enumerate(ends)
    ]


def until_now_s() -> int:
    """The end of the hour after this one: a run that began before it is still in traffic."""
    return int(time.time()) // 3600 * 3600 + 2 * 3600


def test_a_model_is_silent_for_longer_than_is_usual_of_it(client: Client) -> None:
    stopped = {"for a while": HOUR_S - 7200, "for days": HOUR_S - 5 * DAY_S, "for weeks": HOUR_S - 30 * DAY_S}
    panes = history("busy", until_now_s(), 100)
    for model, last_s in stopped.items():
        # Silent panes since then do not make silence usual.
        panes += history(model, last_s, 100)
        panes += [volume(at, 0, model=model) for at in range(last_s, HOUR_S, 3600)]
    panes += history("rare", HOUR_S - 2 * 3600, 1, step=5) + history("gone", HOUR_S - 6 * 3600, 1, step=5)
    panes += [volume(HOUR_S - 3600 * i, 0, model="waiting", pane_s=3600) for i in range(1, 9)]
    # Versions are taken together.
    panes += history("two versions", HOUR_S - DAY_S, 60)
    panes += [{**each, "version": "2"} for each in history("two versions", until_now_s(), 40)]
    insert_rows(client, "volume", panes)
    for model in ("busy", *stopped, "rare", "gone", "new", "waiting", "two versions"):
        applied(client, model)
    result = silence(client)
    assert result["busy"] == result["two versions"] == ("active", 100.0, 0, 0)
    assert {model: result[model][0] for model in stopped} == dict.fromkeys(stopped, "silent")
    assert result["for days"][1] == 100.0
    assert result["for a while"][3] >= 7200
    assert result["rare"][:3] == ("quiet", 0.0, 4 * 3600)
    assert result["gone"][:3] == ("silent", 0.0, 4 * 3600)
    assert result["new"] == result["waiting"] == ("never", 0.0, 0, -1), "a model without any traffic is not healthy"
