"""Signal of an arm that serves a version of a prompt and is worse than the control."""

from collections.abc import Sequence

from barograph_server.warehouse.signals.literals import literal
from barograph_server.warehouse.signals.signal import EMPTY, SURE, EventTimeRange, Facts, FactTime, Signal

LOOKS_REACH_S = 6 * 3600
"""Age at which a look expires, in seconds: there is one after each hour with both arms."""


def prompt_harm(model: str, control: str, arms: Sequence[str], criteria: Sequence[str]) -> Signal:
    """Return the signal of how far the lower end of each comparison is beyond its margin: above 0 is harm.

    The keys are `ARM: CRITERION`. The interval is that of the difference, without the margin.
    """

    def select(period: EventTimeRange, fact_time: FactTime) -> str:
        return (
            "SELECT concat(arm, ': ', criterion) AS key, '' AS version, toUInt32(toUnixTimestamp(look.at)) AS until, "
            "until AS ended_at, toUInt32(ceil(toUnixTimestamp64Milli(compared_at) / 1000)) AS judged_at, "
            "tuple(until) AS rank, "
            f"if(isFinite(look.low), tuple(toUInt8({SURE}), look.low - margin, look.low, look.high, 0.), "
            f"tuple(toUInt8({EMPTY}), 0., nan, nan, 0.)) AS verdict "
            f"FROM arm_comparisons AS look FINAL WHERE model = {literal(model)} AND control = {literal(control)} "
            f"AND look.at > toDateTime({period.start}) AND look.at <= toDateTime({period.end})"
        )

    keys = tuple(f"{arm}: {criterion}" for arm in arms for criterion in criteria)
    return Signal("comparison", keys, 0.0, Facts(select, LOOKS_REACH_S), has_versions=False)
