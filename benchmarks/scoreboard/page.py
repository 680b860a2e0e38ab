"""docs/scoreboard.md, whose tables are generated from docs/scoreboard.json."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import markdown_table, replace_blocks
from benchmarks.page import DOCS
from benchmarks.scoreboard.data_sets import BURSTS, DATA_SETS, INDEPENDENT
from benchmarks.scoreboard.incidents import LASTS_DAYS
from benchmarks.scoreboard.results import Cell, PeerCell, PeerQuiet, PeerRun, QuietStream

RECORD, PAGE = DOCS / "scoreboard.json", DOCS / "scoreboard.md"
WITHIN_GOAL, RECALL_GOAL, FALSE_PAGES_GOAL = 0.85, 0.95, 1.0
CORRELATED_PHI = 2.0
"""φ from which the events of a field count as correlated."""
LITTLE_TRAFFIC = 0.5
"""Events after the start of an incident, relative to the mean, below which its traffic counts as little."""
_MISS_TEXTS = {
    "still firing": "a page of the field still fired when the incident began",
    "too late": "the page came within a day after the incident",
    "no page": "no page of the field",
}

_OMITTED = ("memory", "broker", "packages")
"""What the page leaves out of the machine: replays use no broker."""

Record = dict[str, Any]


def write_page(record: Record) -> None:
    RECORD.write_text(_a_line_each(record), encoding="utf-8")
    PAGE.write_text(render_page(record), encoding="utf-8")


def _a_line_each(record: Record) -> str:
    """Return the record as JSON with a line for each entry of its lists, so that a diff shows the cells that moved."""

    def text(value: Any) -> str:
        if not isinstance(value, list):
            return json.dumps(value)
        return "[\n" + ",\n".join(f"  {json.dumps(each)}" for each in value) + "\n ]"

    return "{\n" + ",\n".join(f" {json.dumps(name)}: {text(value)}" for name, value in record.items()) + "\n}\n"


def render_page(record: Record) -> str:
    """Return the page with the tables of a record."""
    return replace_blocks(PAGE.read_text(encoding="utf-8"), RECORD.name, blocks(record))


def blocks(record: Record) -> dict[str, str]:
    cells = [msgspec.convert(each, Cell) for each in record["cells"]]
    quiet = [msgspec.convert(each, QuietStream) for each in record["quiet"]]
    peers = record["peers"]
    return {
        "summary": _summary(record, cells, quiet),
        "kinds": _kinds(cells, quiet),
        "cells": _cells(cells),
        "misses": _misses(cells),
        "quiet_pages": _quiet_pages(quiet),
        "peers": _peer_cells(peers, cells),
        "peers_quiet": _peer_quiet(peers, quiet),
        "peer_runs": _peer_runs(peers),
        "machine": "\n".join(f"- {name}: {text}" for name, text in record["machine"].items() if name not in _OMITTED),
    }


def _summary(record: Record, cells: list[Cell], quiet: list[QuietStream]) -> str:
    detectable = [cell for cell in cells if cell.is_detectable]
    others = [cell for cell in cells if not cell.is_detectable]
    paged, incidents = _paged(detectable), _incidents(detectable)
    within = sum(cell.within for cell in detectable)
    central = [cell for cell in detectable if _has_median_within(cell)]
    pages = [page for each in quiet for page in each.pages]
    days, n_real = max(1, sum(each.days for each in quiet)), sum(not page.is_false for page in pages)
    correlated = sum(DATA_SETS[each.data_set].traffic != INDEPENDENT for each in quiet)
    has_recall, is_within = paged >= RECALL_GOAL * incidents, len(central) >= WITHIN_GOAL * len(detectable)
    per_30 = "per model and 30 days without faults"
    wrong = sum(sum(cell.wrong_pages.values()) for cell in cells)
    rows = (
        ("cells; incidents in each", f"{len(cells)}; {record['repeats']}"),
        ("streams with correlated events", _share(correlated, len(quiet)), "≥ 50%", 2 * correlated >= len(quiet)),
        (f"cells in which a page is predicted with 90% within {LASTS_DAYS} days", str(len(detectable))),
        ("recall in these cells", _share(paged, incidents), "≥ 95%", has_recall),
        ("recall in the other cells", _share(_paged(others), _incidents(others))),
        ("pages within the predicted 10–90% interval", _share(within, paged)),
        ("cells whose median page is within it", _share(len(central), len(detectable)), "≥ 85%", is_within),
        ("cells with less than half of their incidents in it", _off_time(detectable)),
        ("pages for another field in an incident", str(wrong)),
        ("guard: from page to degraded", _reactions(cells)),
        (f"false pages {per_30}, mean over all kinds of traffic", _false_rate(quiet)),
        ("their range by kind of traffic, without bursts", *_range_of_kinds(quiet)),
        (f"pages of a real change in the data, {per_30}", f"{30 * n_real / days:.2f} ({n_real})"),
        ("time of the whole run", f"{record['seconds']:,} s", "≤ 3,600 s", record["seconds"] <= 3_600),
    )
    filled = ((name, value, *(_met(*goal) if goal else ("", ""))) for name, value, *goal in rows)
    return markdown_table(("figure", "value", "goal", "met"), filled, "lrrl")


def _met(goal: Any, is_met: Any) -> tuple[str, str]:
    return str(goal), "yes" if is_met else "**no**"


def _reactions(cells: list[Cell]) -> str:
    """Return the longest reaction, and how often the model was degraded before the page."""
    pages = [each for cell in cells for each in cell.results if each.hours is not None]
    times = [each.guard_s for each in pages if each.guard_s is not None]
    if not times:
        return "–"
    return f"at most {max(times):.0f} s in {len(times)} pages; degraded before in {len(pages) - len(times)}"


def _has_median_within(cell: Cell) -> bool:
    """Whether the median of the incidents pages within the predicted interval; one without a page counts as latest."""
    low, _, high = cell.predicted
    median = np.median([np.inf if hours is None else hours for hours in cell.hours])
    return low is not None and high is not None and bool(low <= median <= high)


def _share(part: int, whole: int) -> str:
    return f"{part}/{whole} ({part / whole:.1%})" if whole else "–"


def _paged(cells: list[Cell]) -> int:
    return sum(each is not None for cell in cells for each in cell.hours)


def _incidents(cells: list[Cell]) -> int:
    return sum(cell.incidents for cell in cells)


# ------------------------------------------------------------------------------------------------------ traffic


def _by_kind(streams: list[QuietStream]) -> Iterator[tuple[str, list[QuietStream]]]:
    for kind in dict.fromkeys(each.traffic for each in DATA_SETS.values()):
        own = [each for each in streams if DATA_SETS[each.data_set].traffic == kind]
        if own:
            yield kind, own


def _range_of_kinds(streams: list[QuietStream]) -> tuple[Any, ...]:
    """Return the range of false pages per 30 days, the goal, and whether every kind meets it."""
    rates = [30 * float(_false_by_day(own).mean()) for kind, own in _by_kind(streams) if kind != BURSTS]
    if not rates:
        return ("–",)
    return f"{min(rates):.2f} to {max(rates):.2f}", f"each ≤ {FALSE_PAGES_GOAL:g}", max(rates) <= FALSE_PAGES_GOAL


def _kinds(cells: list[Cell], quiet: list[QuietStream]) -> str:
    """Compare kinds of traffic: φ, recall and time where a page is predicted, and false pages."""
    rows = []
    for kind, streams in _by_kind(quiet):
        own = [cell for cell in cells if DATA_SETS[cell.data_set].traffic == kind and cell.is_detectable]
        central = sum(map(_has_median_within, own))
        phi, names = [each.phi for each in streams], dict.fromkeys(each.data_set for each in streams)
        described = "; ".join(f"{name}: {DATA_SETS[name].description}" for name in names)
        row = kind, described, f"{min(phi):.3g}–{max(phi):.3g}", _share(_paged(own), _incidents(own))
        rows.append((*row, _share(central, len(own)), _false_rate(streams)))
    head = ("traffic", "data sets", "φ in a day", "recall where a page is predicted", "cells with the median within")
    return markdown_table((*head, "false pages in 30 days"), rows, "llrrrr")


def _false_by_day(streams: list[QuietStream]) -> NDArray[np.int64]:
    """Return the number of false pages of each day of streams."""
    counts = [np.zeros(each.days, np.int64) for each in streams]
    for of_stream, each in zip(counts, streams, strict=True):
        for page in each.pages:
            of_stream[min(int(page.day), each.days - 1)] += page.is_false
    return np.concatenate(counts)


def _false_rate(streams: list[QuietStream]) -> str:
    """Return false pages per 30 days, with the standard error that follows from the variance between days."""
    if not streams:
        return "–"
    by_day = _false_by_day(streams)
    count = f"({by_day.sum()} in {len(by_day)} days)"
    if not by_day.any():
        return f"0, below {90 / len(by_day):.2f} with 95% {count}"
    return f"{30 * by_day.mean():.2f} ± {30 * by_day.std() / math.sqrt(len(by_day)):.2f} {count}"


# ------------------------------------------------------------------------------------------------------ cells


def _cells(cells: list[Cell]) -> str:
    """Return recall and the median hours by fault and kind of events, for the least and the most traffic."""
    groups: dict[tuple[float, str], list[Cell]] = {}
    volumes = sorted({cell.per_hour for cell in cells})
    for cell in (each for each in cells if each.per_hour in (volumes[0], volumes[-1])):
        kind = "independent" if DATA_SETS[cell.data_set].traffic == INDEPENDENT else "correlated"
        groups.setdefault((cell.per_hour, kind), []).append(cell)
    rows = []
    for row in dict.fromkeys((cell.fault, cell.magnitude) for cell in cells):
        by_kind = [[cell for cell in groups[key] if (cell.fault, cell.magnitude) == row] for key in sorted(groups)]
        rows.append((row[0], f"{row[1]:g}", *map(_detections, by_kind)))
    names = [f"{rate:,.0f} an hour, {kind}" for rate, kind in sorted(groups)]
    return markdown_table(("fault", "magnitude", *names), rows, "lr" + "r" * len(names))


def _interval(cell: Cell) -> str:
    low, _, high = cell.predicted
    if low is None:
        return "never"
    return f"{low:.1f}–{high:.1f}" if high is not None else f"{low:.1f}–?"


def _key(cell: Cell) -> tuple[str, ...]:
    return cell.data_set, f"{cell.per_hour:,.0f}", cell.fault, f"{cell.magnitude:g}"


def _misses(cells: list[Cell]) -> str:
    """List the cells with a predicted page in which an incident did not page, and count the others by reason."""
    missing = [cell for cell in cells if cell.recall < 1.0]
    rows = [
        (*_key(each), f"{_paged([each])}/{each.incidents}", _interval(each), miss_reason(each))
        for each in missing
        if each.is_detectable
    ]
    others = Counter(miss_reason(each) for each in missing if not each.is_detectable)
    rows += [("others", "", "", "", f"{n} cells", "", reason) for reason, n in others.items()]
    head = ("data set", "events an hour", "fault", "magnitude", "paged", "predicted", "reason")
    return markdown_table(head, rows, "lrlrrll")


def miss_reason(cell: Cell) -> str:
    """Say why incidents of a cell did not page."""
    if not cell.is_large_enough:
        return "too small: no traffic gives a page with 90%"
    if cell.predicted[0] is None:
        return "too few independent events"
    if not cell.is_detectable:
        return "predicted with less than 90%"
    kinds = Counter(each.miss for each in cell.results if each.hours is None)
    texts = [f"{n} × {_MISS_TEXTS[kind]}" for kind, n in kinds.items()]
    if cell.wrong_pages:
        texts.append(f"other fields paged: {', '.join(f'{n} × {name}' for name, n in cell.wrong_pages.items())}")
    return "; ".join([*texts, *_circumstances(cell)])


def _off_time(cells: list[Cell]) -> str:
    """Count the cells of which fewer than half of the incidents paged within the predicted interval, by data set."""
    own = Counter(f"{each.data_set} {each.per_hour:,.0f}/h" for each in cells if 2 * each.within < each.incidents)
    return f"{own.total()}: {', '.join(f'{n} × {name}' for name, n in own.most_common())}" if own else "0"


def _circumstances(cell: Cell) -> Iterator[str]:
    """Name what the prediction does not assume: correlated events and traffic that is not constant."""
    if cell.phi >= CORRELATED_PHI:
        yield f"{cell.independent:,.0f} independent events in a day (φ {cell.phi:.3g})"
    quiet = sum(each.traffic < LITTLE_TRAFFIC for each in cell.results)
    if quiet:
        yield f"{quiet} began with less than half of the mean traffic"


# ------------------------------------------------------------------------------------------------------ without faults


def _quiet_pages(streams: list[QuietStream]) -> str:
    """Count the false pages by data set, rule and window; bursts have many, which are one."""
    counts: Counter[tuple[str, str, str]] = Counter()
    fields: dict[tuple[str, str, str], set[str]] = {}
    for stream in (each for each in streams if DATA_SETS[each.data_set].traffic != BURSTS):
        for page in filter(attrgetter("is_false"), stream.pages):
            kind = stream.data_set, page.rule, page.window
            counts[kind] += 1
            fields.setdefault(kind, set()).add(page.field)
    rows = ((*kind, ", ".join(sorted(fields[kind])), str(n)) for kind, n in counts.items())
    return markdown_table(("data set", "rule", "window", "fields", "false pages"), rows, "llllr")


# ------------------------------------------------------------------------------------------------------ peers


def _peer_cells(peers: Record, cells: list[Cell]) -> str:
    """Compare what peers detect with what pages, over the data sets that peers have and all magnitudes."""
    results = [msgspec.convert(each, PeerCell) for each in peers["cells"]]
    names = list(dict.fromkeys(each.peer for each in results))
    data_sets = {each.data_set for each in results}
    own = [cell for cell in cells if cell.per_hour == peers["per_hour"] and cell.data_set in data_sets]
    rows = []
    for fault in dict.fromkeys(cell.fault for cell in own):
        texts = [_detections([cell for cell in own if cell.fault == fault])]
        texts += [_detections([each for each in results if (each.peer, each.fault) == (name, fault)]) for name in names]
        rows.append((fault, *texts))
    return markdown_table(("fault", "pages", *names), rows, "lr" + "r" * len(names))


def _detections(results: list[Cell] | list[PeerCell]) -> str:
    hours = [hours for each in results for hours in each.hours]
    times = [each for each in hours if each is not None]
    if not hours:
        return "–"
    return f"{len(times)}/{len(hours)}" + (f", {np.median(times):.1f}" if times else "")


def _peer_quiet(peers: Record, streams: list[QuietStream]) -> str:
    """Return the days without faults on which a peer calls a column drifted, beside the pages of the same streams."""
    quiet = [msgspec.convert(each, PeerQuiet) for each in peers["quiet"]]
    names = list(dict.fromkeys(each.peer for each in quiet))
    rows = []
    for data_set in dict.fromkeys(each.data_set for each in quiet):
        own = [each for each in streams if (each.data_set, each.per_hour) == (data_set, peers["per_hour"])]
        pages = "".join(f"{len(each.pages)} in {each.days} days" for each in own) or "–"
        of_peer = {each.peer: f"{each.drifted_days}/{each.days}" for each in quiet if each.data_set == data_set}
        rows.append((data_set, pages, *(of_peer.get(name, "–") for name in names)))
    return markdown_table(("data set", "pages, all", *names), rows, "lr" + "r" * len(names))


def _peer_runs(peers: Record) -> str:
    """Return the version and the seconds of each peer, or why it has no results."""
    runs = [msgspec.convert(each, PeerRun) for each in peers["runs"]]
    rows = ((each.peer, each.version or "–", f"{each.seconds:,.0f}", each.failure) for each in runs)
    return markdown_table(("peer", "version", "seconds", ""), rows, "llrl")
