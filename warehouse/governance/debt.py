"""What the checks of `barograph debt` read about one model: arms, values, sampled events, traffic and stored rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

from barograph_server.warehouse.client import Client, identifier


class ArmDifferences(NamedTuple):
    """The newest differences of an arm from the control."""

    criteria: Sequence[str]
    since: datetime
    """When the last of them first was within its margin."""
    is_within: bool
    """Whether all are within their margins."""
    shown: str
    """Their intervals and margins as a text."""


class StoredFieldDay(NamedTuple):
    """What the panes of a UTC day say of a field."""

    field: str
    start: datetime
    events: int
    nulls: int
    counts: Sequence[tuple[str, Sequence[int]]]
    """By baseline the events per cell, without that of null."""
    limits: tuple[float, float]
    """The smallest and the largest number; NaN if they are unknown."""


class SampledEvent(NamedTuple):
    producer: str
    numbers: dict[str, float | None]
    strings: dict[str, str]


class VersionTraffic(NamedTuple):
    version: str
    last: datetime
    """Its last event; when its baseline was accepted if that is later."""
    is_registered: bool


@dataclass(frozen=True, slots=True)
class DebtRows:
    """Reads the rows of one model before a time."""

    client: Client
    model: str
    at: datetime
    """Later rows do not count."""

    def arm_units(self, arms: Sequence[str], unit: str, start: datetime) -> dict[date, dict[str, int]]:
        """Count distinct units by UTC day and arm; a unit is a member of the context, or an id if it is empty."""
        units: dict[date, dict[str, int]] = {}
        for day, arm, n in self._rows(
            "SELECT toDate(at, 'UTC') AS day, arm, uniq(if({unit:String} = '', id, context[{unit:String}]) AS unit) "
            "FROM predictions WHERE model = {model:String} AND arm IN {arms:Array(String)} AND unit != '' "
            "AND at >= {start:DateTime} AND at < {at:DateTime} GROUP BY day, arm",
            unit=unit,
            arms=arms,
            start=start,
        ):
            units.setdefault(day, {})[arm] = n
        return units

    def arm_labels(
        self, arms: Sequence[str], start: datetime, until: datetime, sample: int
    ) -> dict[str, tuple[int, int]]:
        """Count by arm the predictions of a sample from `start` to `until`, and those among them with a label."""
        rows = self._rows(
            "WITH sample AS (SELECT arm, id FROM predictions WHERE model = {model:String} AND at >= {start:DateTime} "
            "AND at < {until:DateTime} AND arm IN {arms:Array(String)} ORDER BY cityHash64(id) LIMIT {n:UInt32} BY arm)"
            " SELECT arm, count(), countIf(id IN (SELECT id FROM labels WHERE model = {model:String} "
            "AND at < {at:DateTime} AND id IN (SELECT id FROM sample))) FROM sample GROUP BY arm",
            arms=arms,
            start=start,
            until=until,
            n=sample,
        )
        return {arm: (n, labelled) for arm, n, labelled in rows}

    def arm_differences(self, control: str, criteria: Sequence[str], margin: float) -> dict[str, ArmDifferences]:
        """Read the differences of arms from the control by criterion; a positive margin replaces those of the rows."""
        rows = self._rows(
            "SELECT arm, groupArray(criterion), max(since), min(is_within), arrayStringConcat(groupArray(shown), ', ') "
            "FROM (SELECT arm, criterion, minIf(at, within) AS since, argMax(within, at) AS is_within, argMax(format("
            "'{} {} to {} (±{})', criterion, toString(round(low, 4)), toString(round(high, 4)), toString(allowed)), at)"
            " AS shown FROM (SELECT *, if({margin:Float64} > 0, {margin:Float64}, margin) AS allowed, "
            "low >= -allowed AND high <= allowed AS within FROM arm_comparisons FINAL WHERE model = {model:String} "
            "AND control = {control:String} AND criterion IN {criteria:Array(String)} AND at <= {at:DateTime}) "
            "GROUP BY arm, criterion ORDER BY criterion) GROUP BY arm",
            control=control,
            criteria=criteria,
            margin=margin,
        )
        return {arm: ArmDifferences(*values) for arm, *values in rows}

    def field_days(self, start: datetime) -> list[StoredFieldDay]:
        """Read the UTC days of each field since `start`, in order of time."""
        rows = self._rows(
            "SELECT field, pane_start, sum(day.n), sum(day.nulls), groupArray((baseline_id, arrayPopBack(counts))), "
            "if(max(day.n > day.nulls AND isNaN(minimum)), (nan, nan), "
            "(minIf(minimum, NOT isNaN(minimum)), maxIf(maximum, NOT isNaN(maximum)))) FROM days AS day "
            "WHERE model = {model:String} AND slice = 'all' AND day.n > 0 AND pane_start >= {start:DateTime} "
            "AND pane_end <= {at:DateTime} GROUP BY field, pane_start ORDER BY pane_start",
            start=start,
        )
        return [StoredFieldDay(*row) for row in rows]

    def sampled_events(self, start: datetime, n: int, producers: int = 0) -> list[SampledEvent]:
        """Read `n` raw events by a hash of their id; with `producers`, `n` of each of the largest producers."""
        recent = "model = {model:String} AND at >= {start:DateTime} AND at < {at:DateTime}"
        largest = (
            f"AND producer IN (SELECT producer FROM predictions WHERE {recent} AND producer != '' "
            "GROUP BY producer ORDER BY count() DESC, producer LIMIT {most:UInt32})"
        )
        rows = self._rows(
            f"SELECT producer, numbers, strings FROM predictions WHERE {recent} AND (producer, id) IN ("
            f"SELECT producer, id FROM predictions WHERE {recent} {largest if producers else ''} "
            f"ORDER BY cityHash64(id), id LIMIT {{n:UInt32}} {'BY producer' if producers else ''}) "
            "SETTINGS max_bytes_before_external_sort = 1000000000",
            start=start,
            n=n,
            most=producers,
        )
        return [SampledEvent(*row) for row in rows]

    def versions(self) -> list[VersionTraffic]:
        """Read the versions that have a baseline, predictions or shadows, in order."""
        rows = self._rows(
            "SELECT version, max(last), max(is_registered) FROM (SELECT version, min(accepted_at) AS last, "
            "1 AS is_registered FROM baselines WHERE model = {model:String} GROUP BY version "
            "UNION ALL SELECT version, max(pane_start + pane_s), 0 FROM volume "
            "WHERE model = {model:String} AND slice = 'all' AND n > 0 AND pane_start < {at:DateTime} GROUP BY version "
            "UNION ALL SELECT version, max(at), 0 FROM shadow_predictions "
            "WHERE model = {model:String} AND at < {at:DateTime} GROUP BY version) GROUP BY version ORDER BY version"
        )
        return [VersionTraffic(version, last, bool(is_registered)) for version, last, is_registered in rows]

    def slices(self) -> list[str]:
        return [name for (name,) in self._rows("SELECT DISTINCT slice FROM volume WHERE model = {model:String}")]

    def last_events(self) -> dict[str, datetime]:
        """Return by slice the end of the last pane with an event."""
        return dict(
            self._rows(
                "SELECT slice, max(pane_start + pane_s) FROM volume WHERE model = {model:String} AND n > 0 "
                "AND pane_start < {at:DateTime} GROUP BY slice"
            )
        )

    def baseline_slices(self) -> dict[str, datetime]:
        """Return the slices of the newest baseline, and when that was accepted."""
        return dict(
            self._rows(
                "SELECT arrayJoin(JSONExtractKeys(argMax(body, accepted_at), 'baseline', 'slice_rows')), "
                "max(accepted_at) FROM baselines WHERE model = {model:String}"
            )
        )

    def _rows(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        return self.client.rows(sql, {"model": self.model, "at": self.at, **parameters})


def bytes_per_row(client: Client) -> dict[str, float]:
    """Return the mean size of a row on disk by table; tables without rows are left out."""
    rows = client.rows(
        "SELECT table, sum(bytes_on_disk) / sum(rows) FROM system.parts "
        "WHERE database = currentDatabase() AND active GROUP BY table HAVING sum(rows) > 0"
    )
    return {str(table): float(size) for table, size in rows}


def count_rows(
    client: Client, table: str, time: str, model: str, column: str, values: Sequence[str], start: datetime, at: datetime
) -> tuple[int, int]:
    """Count the rows of a model with one of the values in a column, and those whose time is from `start` to `at`.

    Args:
        time: its column of event time.
    """
    time, column = identifier(time), identifier(column)
    [(rows, recent)] = client.rows(
        f"SELECT count(), countIf({time} >= {{start:DateTime}} AND {time} < {{at:DateTime}}) FROM {identifier(table)} "
        f"WHERE model = {{model:String}} AND {column} IN {{values:Array(String)}}",
        {"model": model, "values": values, "start": start, "at": at},
    )
    return int(rows), int(recent)
