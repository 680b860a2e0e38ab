"""The events and the overdispersion of each field, slice and window, as the verdicts of a model record them."""

from dataclasses import dataclass

from barograph_server.sketches.baseline.baseline import Baseline, load_baseline
from barograph_server.warehouse import queries
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.queries import rows_of

TRAFFIC_DAYS = 7
"""Days before the model's sealed time whose windows are read."""


@dataclass(frozen=True, slots=True)
class FieldTraffic:
    """A typical window of one field and slice."""

    version: str
    baseline_id: str
    slice: str
    field: str
    window: str
    n: float
    """Median number of events of a window."""
    length_s: float
    """Median length of a window, in seconds: that of windows of the last events varies."""
    phi: float
    """Overdispersion in the newest window."""
    df: float
    """Degrees of freedom of T in the newest window."""
    windows: int
    """Number of windows that were read."""


def field_traffic(client: Client, model: str, days: int = TRAFFIC_DAYS) -> list[FieldTraffic]:
    """Read the typical windows of a model's newest version and baseline, by field, slice and window.

    Windows that are recorded only in part, or contain a change of the baseline, are left out.

    Args:
        days: days before the model's sealed time.
    """
    recent = (
        "model = {model:String} AND window_end > (SELECT max(sealed_until) FROM progress "
        "WHERE model = {model:String}) - toIntervalDay({days:UInt16})"
    )
    newest = (
        f"SELECT version, baseline_id FROM drift WHERE {recent} AND slice = 'all' "
        "GROUP BY version, baseline_id ORDER BY max(window_end) DESC, sum(n) DESC LIMIT 1"
    )
    # `latest_drift` has columns with the names of the result, so they are qualified.
    rows = (
        "SELECT version, baseline_id, slice, field, window, "
        "quantileExact(0.5)(toFloat64(verdicts.n)) AS n, argMax(verdicts.phi, window_end) AS phi, "
        "argMax(verdicts.df, window_end) AS df, "
        "quantileExact(0.5)(toFloat64(window_end - window_start)) AS length_s, count() AS windows "
        f"FROM latest_drift AS verdicts WHERE {recent} AND (version, baseline_id) IN ({newest}) "
        "AND reason NOT IN ('partly recorded', 'baseline change') GROUP BY version, baseline_id, slice, field, window"
    )
    return rows_of(client, FieldTraffic, f"FROM ({rows}) ORDER BY field, slice, window", {"model": model, "days": days})


def load_applied(client: Client, model: str, baseline_id: str) -> Baseline | None:
    """Load an applied baseline of a model by its whole id; None if it is not applied.

    Raises:
        BaselineError: this release cannot read it.
    """
    for row in queries.baselines(client, model):
        if row.baseline_id == baseline_id:
            return load_baseline(row.body.encode(), f"baseline {baseline_id} of {model}")
    return None
