"""Queries of the `status` command and the demo: freshness, completeness, and the latest verdicts."""

from dataclasses import dataclass
from datetime import datetime

from barograph_server.warehouse.client import Client
from barograph_server.warehouse.panels.fragments import drift_level, drift_reason
from barograph_server.warehouse.queries import rows_of

RECENT_DAYS = 8
"""Range before a model's sealed time in which its latest verdicts are read: a week and a hop of a day."""

SILENT_S = 30
"""Seconds after which a processor counts as stopped: it reports every 10 s, so three reports are missing."""


@dataclass(frozen=True, slots=True)
class FreshnessRow:
    """Freshness of a version of a model; see the view `model_freshness`."""

    model: str
    version: str
    last_traffic_at: datetime
    last_counted_at: datetime
    watermark: datetime
    sealed_until: datetime
    traffic_age_s: int
    sealed_age_s: int
    updated_at: datetime
    traffic_within_s: int


@dataclass(frozen=True, slots=True)
class ProcessorRow:
    """The latest report of a processor; see the view `pipeline`."""

    kind: str
    instance: str
    at: datetime
    silent_s: int
    host: str
    pid: int
    started_at: datetime
    lag: int
    events: int
    rate: float
    retries: int
    dead_letters: int
    last_commit_at: datetime
    details: dict[str, float]


@dataclass(frozen=True, slots=True)
class LostRange:
    """A range of source offsets whose events are in no pane; see the view `lost_ranges`."""

    source_partition: int
    start_offset: int
    end_offset: int
    offsets: int
    from_time: datetime
    to_time: datetime
    reason: str
    recorded_at: datetime
    epoch: int


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """What the latest revisions of verdicts on drift and on rates have in common."""

    model: str
    version: str
    baseline_id: str
    slice: str
    field: str
    window: str
    window_start: datetime
    window_end: datetime
    n: int
    p_value: float
    phi: float
    level: str
    reason: str
    threshold_minor: float
    threshold_major: float
    completeness: float
    judged_at: datetime
    revisions: int
    record_seq: int


@dataclass(frozen=True, slots=True)
class DriftRow(VerdictRow):
    """The latest revision of a drift verdict; see the view `latest_drift`."""

    psi: float
    psi_low: float
    psi_high: float
    df: float
    top_bin: str
    top_bin_index: int
    expected_share: float
    actual_share: float
    visible_shift: float
    readings: float
    readings_needed: float
    mean_rank: float
    mean_p: float
    false_major: float
    shown_level: str
    """As on pages: the level, or `like training` or `unlike training` in its place."""
    shown_reason: str


@dataclass(frozen=True, slots=True)
class RateRow(VerdictRow):
    """The latest revision of a verdict on a rate; see the view `latest_rates`."""

    kind: str
    k: int
    rate: float
    baseline_rate: float
    delta: float
    delta_low: float
    delta_high: float


def freshness(client: Client, *, drills: bool = False) -> list[FreshnessRow]:
    """Read the freshness of each version of each model (with `drills`, of drills too), by model and version."""
    view = "all_model_freshness" if drills else "model_freshness"
    return rows_of(client, FreshnessRow, f"FROM {view} ORDER BY model, version")


def processors(client: Client) -> list[ProcessorRow]:
    """Read the latest report of each processor of the last 30 days, by kind and instance."""
    return rows_of(client, ProcessorRow, "FROM pipeline ORDER BY kind, instance")


def lost_ranges(client: Client) -> list[LostRange]:
    """Read the lost offset ranges, the latest first."""
    return rows_of(
        client, LostRange, "FROM lost_ranges ORDER BY recorded_at DESC, epoch, source_partition, start_offset"
    )


def latest_drift(client: Client, model: str, slice_name: str = "all") -> list[DriftRow]:
    """Read the latest drift verdict of each version, field and window of a model, in this order.

    Of two baselines in a window, the one with more events counts. Verdicts that end more than `RECENT_DAYS` before the
    model's sealed time are not included.
    """
    return rows_of(
        client,
        DriftRow,
        f"FROM (SELECT *, {drift_level()} AS shown_level, {drift_reason()} AS shown_reason FROM latest_drift) "
        f"{_OF_SLICE} AND (version, field, window, window_end) IN "
        f"(SELECT version, field, window, max(window_end) FROM drift {_RECENT} GROUP BY version, field, window) "
        "ORDER BY version, field, window, judged_at DESC, n DESC LIMIT 1 BY version, field, window",
        {"model": model, "slice": slice_name, "days": RECENT_DAYS},
    )


def latest_rates(client: Client, model: str, slice_name: str = "all") -> list[RateRow]:
    """Read the latest rate verdict of each version, field, kind and window of a model, like `latest_drift`.

    The rule `errors` judges errors, here and on pages: their rate has no row, unless it is insufficient.
    """
    return rows_of(
        client,
        RateRow,
        f"FROM latest_rates {_OF_SLICE} AND (kind != 'error' OR level = 'insufficient') "
        "AND (version, field, kind, window, window_end) IN "
        "(SELECT version, field, kind, window, max(window_end) FROM rates "
        f"{_RECENT} GROUP BY version, field, kind, window) "
        "ORDER BY version, field, kind, window, judged_at DESC, n DESC LIMIT 1 BY version, field, kind, window",
        {"model": model, "slice": slice_name, "days": RECENT_DAYS},
    )


# The subqueries select keys first, because reading every column of all rows would dominate the cost.
_OF_SLICE = "WHERE model = {model:String} AND slice = {slice:String}"
_RECENT = (
    f"{_OF_SLICE} AND window_end > "
    "(SELECT max(sealed_until) FROM progress WHERE model = {model:String}) - toIntervalDay({days:UInt16})"
)


def is_silent(processor: ProcessorRow) -> bool:
    return processor.silent_s > SILENT_S
