"""The page's tables of peers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from benchmarks.scoreboard.peer_scores import PeerCell, PeerQuiet, PeerRun
from benchmarks.scoreboard.results import Cell, QuietStream

Record = dict[str, Any]


def peer_table(peers: Record, cells: list[Cell]) -> Iterator[str]:
    """Compare what peers detect with what pages, over all data sets."""
    results = [msgspec.convert(each, PeerCell) for each in peers["cells"]]
    names = list(dict.fromkeys(each.peer for each in results))
    yield f"| fault | magnitude | pages | {' | '.join(names)} |"
    yield f"|---|--:|--:|{'--:|' * len(names)}"
    chosen = [cell for cell in cells if cell.per_hour == peers["per_hour"]]
    for fault, magnitude in dict.fromkeys((cell.fault, cell.magnitude) for cell in chosen):
        own = [cell.hours for cell in chosen if (cell.fault, cell.magnitude) == (fault, magnitude)]
        texts = [_detections([hours for each in own for hours in each])]
        for name in names:
            of_peer = [each for each in results if (each.peer, each.fault, each.magnitude) == (name, fault, magnitude)]
            texts.append(_detections([hours for each in of_peer for hours in each.hours]))
        yield f"| {fault} | {magnitude:g} | {' | '.join(texts)} |"


def _detections(hours: list[float | None]) -> str:
    times = [each for each in hours if each is not None]
    if not hours:
        return "–"
    return f"{len(times)}/{len(hours)}" + (f", {np.median(times):.1f}" if times else "")


def quiet_peer_table(peers: Record, streams: list[QuietStream]) -> Iterator[str]:
    """Return the days without faults on which a peer calls a column drifted, beside the pages of the same streams."""
    quiet = [msgspec.convert(each, PeerQuiet) for each in peers["quiet"]]
    names = list(dict.fromkeys(each.peer for each in quiet))
    yield f"| data set | pages, all | {' | '.join(names)} |"
    yield f"|---|--:|{'--:|' * len(names)}"
    for data_set in dict.fromkeys(each.data_set for each in quiet):
        pages = [
            f"{len(each.pages)} in {each.days} days"
            for each in streams
            if (each.data_set, each.per_hour) == (data_set, peers["per_hour"])
        ]
        of_peer = {each.peer: each for each in quiet if each.data_set == data_set}
        texts = [f"{of_peer[name].drifted_days}/{of_peer[name].days}" if name in of_peer else "–" for name in names]
        yield f"| {data_set} | {''.join(pages) or '–'} | {' | '.join(texts)} |"


def runs_table(peers: Record) -> Iterator[str]:
    """Return the version and the seconds of each peer, or why it has no results."""
    yield "| peer | version | seconds | |"
    yield "|---|---|--:|---|"
    for each in peers["runs"]:
        peer = msgspec.convert(each, PeerRun)
        yield f"| {peer.peer} | {peer.version or '–'} | {peer.seconds:,.0f} | {peer.failure} |"
