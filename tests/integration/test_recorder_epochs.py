"""The epochs of a topic's incarnations, counted in the warehouse for all readers."""

from __future__ import annotations

from streams.recorder.topic_epoch import epoch_of
from warehouse.client import Client

NOW_MS = 1_790_000_000_000


def test_each_incarnation_keeps_its_epoch(client: Client) -> None:
    assert epoch_of(client, "labels", "id-z", 3, NOW_MS) == 0
    assert epoch_of(client, "labels", "id-a", 3, NOW_MS + 5) == 1
    # A slow clock does not change the order, and each topic counts its own epochs.
    assert epoch_of(client, "labels", "id-m", 3, NOW_MS - 5000) == 2
    assert epoch_of(client, "t-labels", "id-x", 3, NOW_MS) == 0
    client.command("OPTIMIZE TABLE topics FINAL")
    assert [epoch_of(client, "labels", each, 3, NOW_MS) for each in ("id-z", "id-a", "id-m")] == [0, 1, 2]
