"""What the demo found: everything is read from the views that analysts use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from cli.demo.flights import CRITICAL, DAY, MODEL, VERSION, WEATHER, WEEK, Calendar
from cli.demo.picture import PsiPoint
from warehouse.client import Client
from warehouse.queries import rows_of
from warehouse.status import DriftRow, RateRow, first_major_drift


@dataclass(frozen=True, slots=True)
class Counts:
    """What went in and what came out."""

    published: int
    labels_published: int
    counted: int
    """Predictions in panes of the slice `all`."""
    recorded: int
    """Rows of predictions, each once."""
    labels_recorded: int
    dead: int
    """Events that were put aside."""
    lost_offsets: int
    verdicts: int
    rate_verdicts: int


@dataclass(frozen=True, slots=True)
class Findings:
    """What the demo tells at its end."""

    counts: Counts
    weeks: Mapping[str, Sequence[tuple[date, str]]]
    """Of the control, per field (date of 2013 at whose start a week window ends, level), in order."""
    first_major: Sequence[DriftRow]
    """The earliest major week of each field that had one, the earliest first."""
    outage: Sequence[RateRow]
    """Null rates of the weather in the day window that ends with the record."""

    @property
    def first_critical(self) -> Sequence[DriftRow]:
        """Those of critical fields, the earliest first."""
        return [row for row in self.first_major if row.field in CRITICAL]


def read_findings(
    client: Client, calendar: Calendar, record_end: datetime, published: int, labels_published: int
) -> Findings:
    """Ask the warehouse.

    Args:
        client: of the demo's database.
        calendar: of the replay.
        record_end: the end of the last pane, in event time of the replay.
        published: predictions that Kafka has acknowledged.
        labels_published: labels that it has.
    """
    weeks: dict[str, list[tuple[date, str]]] = {}
    for field, window_end, level in client.rows(
        "SELECT field, window_end, level FROM latest_drift WHERE model = {model:String} AND version = {version:String} "
        "AND slice = 'all' AND window = {window:String} ORDER BY field, window_end",
        {"model": MODEL, "version": VERSION, "window": WEEK.name},
    ):
        weeks.setdefault(str(field), []).append((calendar.end_date(window_end), str(level)))
    outage = rows_of(
        client,
        RateRow,
        "FROM latest_rates WHERE model = {model:String} AND version = {version:String} AND slice = 'all' "
        "AND window = {window:String} AND kind = 'null' AND window_end = {end:DateTime} "
        "AND field IN {fields:Array(String)} ORDER BY field",
        {"model": MODEL, "version": VERSION, "window": DAY.name, "end": record_end, "fields": list(WEATHER)},
    )
    return Findings(
        _counts(client, published, labels_published),
        weeks,
        [row for row in first_major_drift(client, MODEL, WEEK.name) if row.version == VERSION],
        outage,
    )


def read_curve(client: Client, calendar: Calendar, field: str) -> list[PsiPoint]:
    """The PSI of a field's week windows, ascending."""
    rows = client.rows(
        "SELECT window_end, psi, psi_low, psi_high FROM latest_drift "
        "WHERE model = {model:String} AND version = {version:String} AND slice = 'all' "
        "AND field = {field:String} AND window = {window:String} AND n > 0 ORDER BY window_end",
        {"model": MODEL, "version": VERSION, "field": field, "window": WEEK.name},
    )
    return [PsiPoint(calendar.end_date(end), psi, low, high) for end, psi, low, high in rows]


def _counts(client: Client, published: int, labels_published: int) -> Counts:
    row = client.rows(
        "SELECT (SELECT sum(n) FROM all_volume WHERE model = {model:String} AND slice = 'all'), "
        "(SELECT count() FROM all_predictions WHERE model = {model:String}), "
        "(SELECT sum(given) FROM last_labels WHERE model = {model:String}), "
        "(SELECT sum(dead_letters) FROM pipeline), "
        "(SELECT sum(offsets) FROM lost_ranges), "
        "(SELECT count() FROM latest_drift), "
        "(SELECT count() FROM latest_rates)",
        {"model": MODEL},
    )[0]
    return Counts(published, labels_published, *map(int, row))
