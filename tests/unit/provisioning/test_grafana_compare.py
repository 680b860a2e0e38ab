"""Comparison of current and desired Grafana resources, and the ledger of writes."""

from __future__ import annotations

from typing import Any

import pytest

from barograph_server.provisioning.grafana.compare import (
    contains,
    differences,
    fingerprint,
    keyed_fingerprint,
    normalize,
)
from barograph_server.provisioning.grafana.ledger import Ledger, WriteRecord, read_ledger
from barograph_server.provisioning.grafana.plan import ResourceState, classify, sent_fingerprint
from barograph_server.provisioning.grafana.resources import CurrentResource, Folder


def test_equal_values_have_equal_fingerprints_and_those_of_secrets_depend_on_the_key() -> None:
    assert normalize({"a": 1.0, "b": (0.5, 2.0), "c": {"d": True}}) == {"a": 1, "b": [0.5, 2], "c": {"d": True}}
    assert fingerprint(normalize({"a": 1.0, "b": 2})) == fingerprint(normalize({"b": 2, "a": 1}))
    assert fingerprint([1, 2]) != fingerprint([2, 1])
    assert fingerprint("Größe 尺寸") != fingerprint("Größe")
    secret = {"password": "swordfish"}
    assert keyed_fingerprint(secret, "k") == keyed_fingerprint(dict(secret), "k")
    assert len({keyed_fingerprint(secret, "k"), keyed_fingerprint(secret, "other"), fingerprint(secret)}) == 3


def test_current_contains_desired() -> None:
    cases: list[tuple[Any, Any, bool]] = [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": [{"x": 1, "y": 2}]}, {"a": [{"x": 1}]}, True),
        ({"a": [1, 2]}, {"a": [1]}, False),
        ({"a": "1"}, {"a": 1}, False),
        ({"a": 1}, {"a": True}, False),
        ([], {}, False),
    ]
    for current, desired, expected in cases:
        assert contains(current, desired) is expected, (current, desired)


@pytest.mark.parametrize(
    ("current", "desired", "lines"),
    [
        ({"a": 1, "b": 2}, {"a": 2, "c": 3}, ["~ a: 1 → 2", "+ c", "- b"]),
        ({"a": {"b": "x"}}, {"a": {"b": "y"}}, ['~ a.b: "x" → "y"']),
        ({"a": [1, 2]}, {"a": [1, 3]}, ["~ a[1]: 2 → 3"]),
        (
            {"p": [{"id": 1, "title": "A"}, {"id": 2, "title": "B"}]},
            {"p": [{"id": 2, "title": "B"}, {"id": 3, "title": "C"}]},
            ["+ p[C]", "- p[A]"],
        ),
        ({"p": [{"id": 1}, {"id": 2}]}, {"p": [{"id": 2}, {"id": 1}]}, ["~ p: order changed"]),
        ({"p": [{"uid": "a", "x": 1}]}, {"p": [{"uid": "a", "x": 2}]}, ["~ p[a].x: 1 → 2"]),
    ],
)
def test_differences_lead_from_current_to_desired(current: Any, desired: Any, lines: list[str]) -> None:
    assert list(differences(current, desired)) == lines


LEDGER = Ledger(
    {
        "folder/x": (WriteRecord("s1", "k1"), WriteRecord("s2", "k2", pending=True)),
        "rule group/é/1": (WriteRecord("a", "b"),),
    }
)


def test_a_ledger_is_read_as_it_was_written_and_an_unknown_format_is_empty() -> None:
    assert read_ledger(LEDGER.as_json()) == LEDGER
    bodies: list[Any] = [None, 3, [], {"a": [["s"]]}, {"a": 3}]
    for value in ("x", [], {}, {"format": 2, "applied": {}}, *({"format": 1, "applied": body} for body in bodies)):
        assert read_ledger(value) == Ledger({}), value


def test_a_pending_record_is_added_and_then_replaced() -> None:
    pending = LEDGER.begin("folder/x", "s3", "k3")
    assert pending.records_of("folder/x") == (*LEDGER.records_of("folder/x"), WriteRecord("s3", "k3", pending=True))
    assert pending.begin("folder/x", "s3", "k3") == pending
    assert pending.finish("folder/x", "s3", "k4").records_of("folder/x") == (WriteRecord("s3", "k4"),)
    assert LEDGER.records_of("folder/new") == ()


def state_of(title: str | None, *records: WriteRecord, desired: str = "new", locked: bool = False) -> ResourceState:
    resource = Folder({"uid": "x", "title": desired})
    body = {"title": title}
    current = None if title is None else CurrentResource(body, resource.normalize_body(body), locked=locked)
    return classify(resource, current, Ledger({resource.ledger_name: records}), "token").state


def record(title: str, *, pending: bool = False) -> WriteRecord:
    resource = Folder({"uid": "x", "title": title})
    return WriteRecord(sent_fingerprint(resource, "token"), fingerprint(resource.content), pending)


def test_the_state_follows_from_the_records() -> None:
    assert state_of(None) is ResourceState.NEW
    assert state_of(None, record("old")) is ResourceState.NEW
    assert state_of("new") is ResourceState.SAME
    assert state_of("new", record("new")) is ResourceState.SAME
    assert state_of("new", record("old")) is ResourceState.SAME
    assert state_of("old", record("old")) is ResourceState.CHANGED
    assert state_of("old", record("old"), record("new", pending=True)) is ResourceState.CHANGED
    assert state_of("older", record("old"), record("older", pending=True)) is ResourceState.CHANGED
    assert state_of("mine", record("old")) is ResourceState.EDITED
    assert state_of("mine", record("new")) is ResourceState.EDITED
    assert state_of("mine") is ResourceState.FOREIGN
    assert state_of("mine", locked=True) is ResourceState.LOCKED
    assert state_of("new", locked=True) is ResourceState.SAME
