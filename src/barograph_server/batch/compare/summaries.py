"""Summaries of the verdicts per field, worst first, and hints from the values of production."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from barograph.contract import Contract

from barograph_server.batch.compare.hints import ALL_PERIODS, ONE_PERIOD, Hint, spelling_hint, unit_hint
from barograph_server.batch.compare.panes import JudgedPeriods
from barograph_server.batch.compare.periods import Period
from barograph_server.batch.compare.report import (
    ATTENTION,
    SEVERITY,
    FieldVerdicts,
    PeriodShares,
    flag_label,
    masked_fields,
    rows_by_period,
    unsliced_rows,
)
from barograph_server.batch.skew.compare import MASKED
from barograph_server.sketches.baseline.baseline import Baseline
from barograph_server.sketches.baseline.bins import NULL_BIN, OTHER_BIN
from barograph_server.sketches.baseline.layout import EVENTS
from barograph_server.sketches.sketch.categorical import UnseenCategories
from barograph_server.streams.monitor.state.merged_ranges import MergedRange
from barograph_server.streams.monitor.state.series import Series

MAX_NAMED_NEW = 3
"""New categories that a report names per field."""
MAX_NAMED_UNSEEN = 50
"""Unseen values that hints read per field."""


def value_hints(contract: Contract, judged: JudgedPeriods, lines: Sequence[FieldVerdicts]) -> list[Hint]:
    """Compare quantiles and unseen values with training."""
    series = judged.series
    masked = masked_fields(contract)
    n_rows = sum(int(counts[0, EVENTS]) for counts in judged.counts.values())
    merged: dict[int | None, MergedRange] = {}
    hints: list[Hint | None] = []
    for line in lines:
        i = series.layout.field_index[line.name]
        field = series.layout.fields[i]
        if field.kind == "category":
            counts = Counter() if line.name in masked else _unseen_values(series, i)
            hints.append(spelling_hint(field, counts, n_rows) if counts else None)
        elif line.worst is not None and line.worst["psi"] >= contract.thresholds.minor:
            # All periods, and the worst one in case only some of them differ.
            for end_s in (None, line.worst["end_s"]):
                if end_s not in merged:
                    merged[end_s] = judged.merged(end_s)
                summary = merged[end_s].numbers.get((0, i))
                if summary is None or summary.sketch is None:
                    continue
                tolerance = ALL_PERIODS if end_s is None else ONE_PERIOD
                hint = unit_hint(field, summary.sketch, tolerance)
                if hint is not None:
                    hints.append(hint)
                    break
    return [hint for hint in hints if hint is not None]


def _unseen_values(series: Series, field_index: int) -> Counter[str]:
    """Return the most frequent values that training does not contain, with their counts."""
    unseen = UnseenCategories()
    for pane in series.panes.values():
        if pane.sketches[field_index]:
            unseen.merge(UnseenCategories.from_bytes(pane.sketches[field_index]))
    return Counter({item.value: item.estimate for item in unseen.top(MAX_NAMED_UNSEEN)})


def summarise_fields(
    contract: Contract, baseline: Baseline, judged: JudgedPeriods, periods: Sequence[Period]
) -> list[FieldVerdicts]:
    drift, rates = defaultdict[str, list[dict[str, Any]]](list), defaultdict[str, list[dict[str, Any]]](list)
    for table, by_field in ((judged.drift, drift), (judged.rates, rates)):
        for row in unsliced_rows(rows_by_period(table, contract, periods)):
            by_field[row["field"]].append(row)
    masked = masked_fields(contract)
    critical = {field.name for field in contract.fields if field.critical}
    flags = {field.name for field in contract.fields if field.type == "bool"}
    whole = {period.end_s for period in periods if period.is_whole}
    lines = []
    for i, field in enumerate(baseline.fields):
        of_field, of_rates = drift[field.name], rates[field.name]
        worst = max(of_field, key=lambda row: (SEVERITY[row["level"]], row["end_s"] in whole, row["psi"]), default=None)
        worst_rate = max(
            of_rates, key=lambda row: (SEVERITY[row["level"]], row["end_s"] in whole, abs(row["delta"])), default=None
        )
        shares = None if worst is None else _shares(judged, i, worst, is_masked=field.name in masked)
        if shares is not None and field.name in flags:
            shares = replace(shares, labels=tuple(map(flag_label, shares.labels)))
        new = Counter[str]()
        if worst is not None and worst["top_bin"] == OTHER_BIN and field.name not in masked:
            new = _unseen_values(judged.series, judged.series.layout.field_index[field.name])
        lines.append(
            FieldVerdicts(
                field.name,
                field.kind,
                field.name in critical,
                tuple(of_field),
                tuple(row for row in of_rates if row["k"] or row["level"] in ("minor", "major")),
                worst,
                worst_rate,
                shares,
                tuple(value for value, _ in new.most_common(MAX_NAMED_NEW)),
            )
        )
    return sorted(lines, key=_order)


def _order(line: FieldVerdicts) -> tuple[Any, ...]:
    """Order fields by the attention that they need, critical ones before others, then by PSI."""
    psi = 0.0 if line.worst is None else line.worst["psi"]
    return ATTENTION.index(line.level), not line.critical, -psi, line.name


def _shares(judged: JudgedPeriods, field_index: int, row: dict[str, Any], *, is_masked: bool) -> PeriodShares | None:
    bins = judged.series.compiled.bins
    group = bins.groups_in(0).get(field_index)
    if group is None:
        return None
    start = int(bins.starts[group])
    of_group = slice(start, start + int(bins.sizes[group]))
    production = bins.window_bins(judged.counts[row["end_s"]][None])[0, of_group]
    training = bins.base_bins[of_group]
    return PeriodShares(
        row["period"],
        tuple(
            MASKED if is_masked and label not in (OTHER_BIN, NULL_BIN) else label for label in bins.group_labels(group)
        ),
        tuple((training / max(training.sum(), 1)).tolist()),
        tuple((production / max(production.sum(), 1)).tolist()),
    )
