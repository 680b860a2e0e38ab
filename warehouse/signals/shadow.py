"""Signals of a candidate beside the primary: events that stop, missing pairs, harm in slices, and the decision."""

from barograph_server.sketches.rollout.shadow_days import PLANNED
from barograph_server.warehouse.signals.literals import literal, literals
from barograph_server.warehouse.signals.signal import EMPTY, SURE, UNSURE, EventTimeRange, Facts, FactTime, Signal
from barograph_server.warehouse.signals.verdicts import PaneTiming
from barograph_server.warehouse.signals.volume import DAY_S, Z

LAG_REACH_S = 7 * DAY_S
"""Age up to which answers of a candidate are searched, in seconds. A candidate without any since then is not behind: it
has not started, or it is over."""
LOOKS_REACH_S = 3 * DAY_S
"""Age at which a look expires, in seconds: there is one at the end of each day with pairs."""
PAIRED_AFTER_S = 3600
"""Time after the end of a score window in which its pairs are counted on replayed history, in seconds."""
DECISIONS = ("hold", "keep", "promote", "roll back")
"""Decisions that end the wait for evidence; after a promotion those about the new primary."""

_NOT_ANSWERED = ("no-event", "primary-failed")
"""Reasons of missing pairs that are no event of the candidate."""


def shadow_lag(model: str, candidate: str, of: str, pane: PaneTiming, threshold_s: float) -> Signal:
    """Return the signal of the time, in seconds, for which the primary has traffic and no event of the candidate pairs.

    It covers a candidate that stopped and a pairing that is behind. Time without traffic does not count.
    """

    def select(period: EventTimeRange, fact_time: FactTime) -> str:
        wide = f"toDateTime({period.start} - {LAG_REACH_S})"
        traffic = (
            "SELECT toUInt32(toUnixTimestamp(pane_start) + pane_s) AS end, 1 AS is_traffic "
            f"FROM volume FINAL WHERE model = {literal(model)} AND version = {literal(of)} AND slice = 'all' "
            f"AND sealed AND n > 0 AND pane_start > {wide} AND pane_start + pane_s <= toDateTime({period.end})"
        )
        answered = (
            "SELECT toUInt32(toUnixTimestamp(window_start) + window_s) AS end, 0 AS is_traffic "
            f"FROM shadow_pairs FINAL WHERE {_pairs(model, candidate, of)} AND window_start > {wide} "
            f"AND window_start <= toDateTime({period.end}) AND (pairs > 0 OR {_missing(_NOT_ANSWERED)} > 0)"
        )
        times = (
            "SELECT end, is_traffic, max(if(is_traffic, 0, end)) OVER "
            f"(ORDER BY end ASC, is_traffic ASC ROWS UNBOUNDED PRECEDING) AS last_answer "
            f"FROM ({traffic} UNION ALL {answered})"
        )
        state = f"if(last_answer = 0, {EMPTY}, {SURE})"
        return (
            "SELECT '' AS key, '' AS version, end AS until, end AS ended_at, "
            f"until + {pane.sealed_after_s} AS judged_at, tuple(until) AS rank, "
            f"tuple(toUInt8({state}), toFloat64(end - last_answer), nan, nan, 0.) AS verdict "
            f"FROM ({times}) WHERE is_traffic AND end > {period.start}"
        )

    return Signal("", ("",), threshold_s, Facts(select, DAY_S), has_versions=False)


def missing_share(model: str, candidate: str, of: str, threshold: float) -> Signal:
    """Return the signal of the share of a day's requests whose pair is missing without a plan.

    It exceeds the threshold only if the lower end of Wilson's 95 % interval does. Requests outside the sample, and
    those that failed in the primary, do not count.
    """

    def select(period: EventTimeRange, fact_time: FactTime) -> str:
        hours = (
            "SELECT toUInt32(toUnixTimestamp(window_start) + window_s) AS end, "
            f"sum({_missing(PLANNED)}) AS missed, sum(requests) - sum(arraySum(mapValues(missing))) + missed AS due "
            f"FROM shadow_pairs FINAL WHERE {_pairs(model, candidate, of)} "
            f"AND window_start > toDateTime({period.start} - {DAY_S}) AND window_start <= toDateTime({period.end}) "
            "GROUP BY end"
        )
        frame = f"(ORDER BY end ASC RANGE BETWEEN {DAY_S - 1} PRECEDING AND CURRENT ROW)"
        sums = (
            f"SELECT hours.end AS end, sum(missed) OVER {frame} AS k, sum(due) OVER {frame} AS n, k / n AS share, "
            f"{Z * Z} / n AS z2n, "
            "(share + z2n / 2 - sqrt(z2n * (share * (1 - share) + z2n / 4))) / (1 + z2n) AS low, "
            "(share + z2n / 2 + sqrt(z2n * (share * (1 - share) + z2n / 4))) / (1 + z2n) AS high "
            f"FROM ({hours}) AS hours"
        )
        state = f"multiIf(n = 0, {EMPTY}, low > {float(threshold)!r}, {SURE}, {UNSURE})"
        return (
            f"SELECT '' AS key, '' AS version, end AS until, end + {PAIRED_AFTER_S} AS ended_at, "
            f"ended_at AS judged_at, tuple(until) AS rank, tuple(toUInt8({state}), share, low, high, 0.) AS verdict "
            f"FROM ({sums}) WHERE end > {period.start} AND end <= {period.end}"
        )

    return Signal("", ("",), threshold, Facts(select, DAY_S, "1d"), has_versions=False)


def slice_harm(model: str, candidate: str, of: str, horizon_s: int, threshold: float) -> Signal:
    """Return the signal of the mean e-value of all slices at the last look: evidence that some slice is harmed."""

    def select(period: EventTimeRange, fact_time: FactTime) -> str:
        return (
            f"SELECT '' AS key, '' AS version, {_look_times(horizon_s)}, "
            f"tuple(toUInt8(if(isNaN(evidence), {EMPTY}, {SURE})), exp(least(evidence, 700.)), nan, nan, 0.) "
            "AS verdict "
            f"FROM shadow_verdicts AS look FINAL WHERE {_looks(model, candidate, of, period)}"
        )

    return Signal("", ("",), threshold, Facts(select, LOOKS_REACH_S + horizon_s), has_versions=False)


def decided(model: str, candidate: str, of: str, horizon_s: int) -> Signal:
    """Return the signal of the decision at the last look: 1 for the one of `DECISIONS` that it is, else 0."""

    def select(period: EventTimeRange, fact_time: FactTime) -> str:
        return (
            f"SELECT arrayJoin({literals(DECISIONS)}) AS key, '' AS version, {_look_times(horizon_s)}, "
            f"tuple(toUInt8({SURE}), toFloat64(outcome = key), nan, nan, 0.) AS verdict "
            f"FROM shadow_verdicts AS look FINAL WHERE {_looks(model, candidate, of, period)}"
        )

    return Signal("decision", DECISIONS, 0.5, Facts(select, LOOKS_REACH_S + horizon_s), has_versions=False)


def _pairs(model: str, candidate: str, of: str) -> str:
    """Return the condition for the windows with requests of the newest scoring rules: other rows count them again."""
    versions = f"model = {literal(model)} AND candidate = {literal(candidate)} AND of = {literal(of)}"
    newest = f"SELECT argMax(basis, counted_at) FROM shadow_pairs WHERE {versions}"
    return f"{versions} AND basis = ({newest}) AND slice = 'all' AND requests > 0"


def _missing(except_for: tuple[str, ...]) -> str:
    """Return the expression for the requests of a window whose pair is missing for any other reason."""
    return (
        "arraySum((reason, n) -> if(toString(reason) IN "
        f"{literals(except_for)}, 0, n), mapKeys(missing), mapValues(missing))"
    )


def _look_times(horizon_s: int) -> str:
    """Return the times of a look. On replayed history it counts once its labels are mature at the latest."""
    return (
        f"toUInt32(toUnixTimestamp(day_end)) AS until, until + {horizon_s} AS ended_at, "
        "toUInt32(ceil(toUnixTimestamp64Milli(look.judged_at) / 1000)) AS judged_at, tuple(until) AS rank"
    )


def _looks(model: str, candidate: str, of: str, period: EventTimeRange) -> str:
    return (
        f"model = {literal(model)} AND candidate = {literal(candidate)} AND of = {literal(of)} "
        f"AND criterion = 'decision' AND day_end > toDateTime({period.start}) AND day_end <= toDateTime({period.end})"
    )
