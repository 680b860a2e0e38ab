"""Comparing what Grafana has with what is wanted, and remembering what was written."""

from __future__ import annotations

from typing import Any

import pytest

from cli.apply.grafana.compare import (
    differences,
    duration_s,
    fingerprint,
    holds,
    keyed_fingerprint,
    plain,
    without,
    without_empty,
)
from cli.apply.grafana.items import Folder, GrafanaObject
from cli.apply.grafana.ledger import Ledger, Record, read_ledger
from cli.apply.grafana.plan import State, judge, sent_fingerprint


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("24h", 86_400), ("1d", 86_400), ("1h30m", 5400), ("90m", 5400), ("1w", 604_800), ("500ms", 0.5), ("0s", 0)],
)
def test_durations_are_seconds_in_whatever_units(text: str, seconds: float) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize("value", ["", "1", "h", "-1h", "1h ", "1.5h", 60, None, "10m every day"])
def test_what_is_no_duration_stays(value: Any) -> None:
    assert duration_s(value) == value


def test_one_spelling() -> None:
    assert plain({"a": 1.0, "b": (0.5, 2.0), "c": {"d": True}}) == {"a": 1, "b": [0.5, 2], "c": {"d": True}}
    assert fingerprint(plain({"a": 1.0, "b": 2})) == fingerprint(plain({"b": 2, "a": 1}))
    assert fingerprint([1, 2]) != fingerprint([2, 1])
    assert fingerprint("Größe 尺寸") != fingerprint("Größe")
    assert len(fingerprint({})) == 16


def test_keys_that_say_nothing_are_none() -> None:
    arguments = {
        "a": None,
        "b": "",
        "c": [],
        "d": {},
        "e": False,
        "f": 0,
        "g": {"h": None, "i": 1},
        "j": [{"k": ""}, 2],
    }
    assert without_empty(arguments) == {"f": 0, "g": {"i": 1}, "j": [{}, 2]}
    assert without({"a": 1, "b": 2}, {"b", "c"}) == {"a": 1}


def test_a_fingerprint_of_secrets_takes_the_key() -> None:
    secret = {"password": "swordfish"}
    assert keyed_fingerprint(secret, "k") == keyed_fingerprint(dict(secret), "k")
    assert keyed_fingerprint(secret, "k") != keyed_fingerprint(secret, "other")
    assert keyed_fingerprint(secret, "k") != fingerprint(secret)


@pytest.mark.parametrize(
    ("found", "wanted", "expected"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": [{"x": 1, "y": 2}]}, {"a": [{"x": 1}]}, True),
        ({"a": [1, 2]}, {"a": [1]}, False),
        ({"a": "1"}, {"a": 1}, False),
        ({"a": 1}, {"a": True}, False),
        ([], {}, False),
    ],
)
def test_found_holds_what_is_wanted(found: Any, wanted: Any, expected: bool) -> None:
    assert holds(found, wanted) is expected


@pytest.mark.parametrize(
    ("found", "wanted", "lines"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1, "b": 2}, {"a": 2, "c": 3}, ["~ a: 1 → 2", "+ c", "- b"]),
        ({"a": {"b": "x"}}, {"a": {"b": "y"}}, ['~ a.b: "x" → "y"']),
        ({"a": [1, 2]}, {"a": [1]}, ["~ a: 2 → 1 members"]),
        ({"a": [1, 2]}, {"a": [1, 3]}, ["~ a[1]: 2 → 3"]),
        ({"a": [[1], [2]]}, {"a": [[1], [3]]}, ["~ a[1][0]: 2 → 3"]),
        ({"a": True}, {"a": 1}, ["~ a: true → 1"]),
        (
            {"p": [{"id": 1, "title": "A"}, {"id": 2, "title": "B"}]},
            {"p": [{"id": 2, "title": "B"}, {"id": 3, "title": "C"}]},
            ["+ p[C]", "- p[A]"],
        ),
        ({"p": [{"id": 1}, {"id": 2}]}, {"p": [{"id": 2}, {"id": 1}]}, ["~ p: in another order"]),
        ({"p": [{"uid": "a", "x": 1}]}, {"p": [{"uid": "a", "x": 2}]}, ["~ p[a].x: 1 → 2"]),
        ({"p": [{"id": 1}, {"id": 1}]}, {"p": [{"id": 1}]}, ["~ p: 2 → 1 members"]),
        ({"a": "x" * 99}, {"a": "y"}, ['~ a: "' + "x" * 39 + '… → "y"']),
    ],
)
def test_differences_make_what_is_wanted_of_what_is_found(found: Any, wanted: Any, lines: list[str]) -> None:
    assert list(differences(found, wanted)) == lines


LEDGER = Ledger(
    {"folder/x": (Record("s1", "k1"), Record("s2", "k2", open=True)), "rule group/é/1": (Record("a", "b"),)}
)


def test_a_ledger_is_read_as_it_was_written() -> None:
    assert read_ledger(LEDGER.as_json()) == LEDGER


@pytest.mark.parametrize(
    "value",
    [None, "x", [], {}, {"format": 2, "applied": {}}, {"format": 1}, {"format": 1, "applied": {"a": [["s"]]}},
     {"format": 1, "applied": {"a": 3}}, {"format": 1, "applied": []}],
)  # fmt: skip
def test_what_is_no_ledger_of_ours_is_an_empty_one(value: Any) -> None:
    assert read_ledger(value) == Ledger({})


def test_a_record_is_opened_before_and_settled_after() -> None:
    opened = LEDGER.opened("folder/x", "s3", "k3")
    assert opened.of("folder/x") == (*LEDGER.of("folder/x"), Record("s3", "k3", open=True))
    assert opened.opened("folder/x", "s3", "k3") == opened
    assert opened.settled("folder/x", "s3", "k4").of("folder/x") == (Record("s3", "k4"),)
    assert LEDGER.of("folder/new") == ()


def stands(found: str | None, *records: Record, wanted: str = "new", locked: bool = False) -> State:
    item = Folder({"uid": "x", "title": wanted})
    body = {"title": found}
    here = None if found is None else GrafanaObject(body, item.compared(body), locked=locked)
    return judge(item, here, Ledger({item.ledger_name: records}), "token").state


def record(title: str, *, open: bool = False) -> Record:
    item = Folder({"uid": "x", "title": title})
    return Record(sent_fingerprint(item, "token"), fingerprint(item.content), open)


def test_how_an_object_stands() -> None:
    assert stands(None) is State.NEW
    assert stands(None, record("old")) is State.NEW
    assert stands("new") is State.SAME
    assert stands("new", record("new")) is State.SAME
    assert stands("new", record("old")) is State.SAME
    assert stands("old", record("old")) is State.CHANGED
    assert stands("old", record("old"), record("new", open=True)) is State.CHANGED
    assert stands("older", record("old"), record("older", open=True)) is State.CHANGED
    assert stands("mine", record("old")) is State.EDITED
    assert stands("mine", record("new")) is State.EDITED
    assert stands("mine") is State.FOREIGN
    assert stands("mine", locked=True) is State.LOCKED
    assert stands("new", locked=True) is State.SAME
