"""Signals of language models: use of the budget, and shares of tokens and calls that fall."""

from typing import Literal

from barograph_server.warehouse.signals.literals import literal
from barograph_server.warehouse.signals.signal import EMPTY, SURE, UNSURE, EventTimeRange, Facts, FactTime, Signal

HOUR_S, DAY_S = 3600, 86_400
HISTORY_DAYS = 64
"""Days that are read before a time: a month and the four weeks before it."""
WEEK_DAYS, LEAST_DAYS = 7, 3
"""Previous days whose same hours forecast the rest of a day, at most and at least."""
MONTH_DAYS, LEAST_MONTH_DAYS = 28, 7
"""Previous days whose mean forecasts the rest of a month, at most and at least."""
ARRIVAL_S = 300
"""How long after an hour its calls are expected in ClickHouse."""
T_97_5 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145),
    *(2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052),
)
"""The 97.5 % point of Student's t distribution with 1 to 27 degrees of freedom."""
Z_99 = 2.576
"""The 99.5 % point of the normal distribution."""
RECENT_HOURS, EARLIER_HOURS = 6, 24
"""Hours with data that a share needs, in the last day and in the week before."""
LEAST_N = 100
"""Smallest sum of denominators in each."""
Period = Literal["day", "month"]


def budget_numbers_sql(model: str, start_s: str, end_s: str, now_s: str = "0xFFFFFFFF") -> str:
    """Return the query for what is spent and forecast at the end of each hour of a range.

    Args:
        start_s: the time after which hours end, an SQL expression in Unix seconds.
        end_s: the time until which they end.
        now_s: the time until which calls are known, an SQL expression: the rest of its hour is forecast.

    Returns:
        The SQL. Its columns `until` (Unix seconds) and `one`: the period, what is spent, the forecast of its rest and
        the half-width of its 95 % interval (NaN without a forecast), answered calls, and those with a cost.
    """
    first = f"(toDate(toDateTime({start_s}, 'UTC')) - {HISTORY_DAYS})"
    last = f"toDate(toDateTime({end_s}, 'UTC'))"
    days = f"SELECT {first} + arrayJoin(range(toUInt32({last} - {first} + 1))) AS day"
    hours = (
        "SELECT toDate(hour) AS day, toHour(hour) AS h, sum(cost) AS hour_cost, sum(answered) AS hour_answered, "
        f"sum(with_cost) AS hour_with_cost FROM model_costs WHERE {model} "
        f"AND hour >= toDateTime({first}, 'UTC') AND hour < toDateTime({end_s}, 'UTC') GROUP BY day, h"
    )
    by_day = (
        "SELECT day, groupArray((h, hour_cost)) AS costs, sum(hour_answered) AS day_answered, "
        f"sum(hour_with_cost) AS day_with_cost FROM ({hours}) GROUP BY day"
    )
    dense = (
        "SELECT days.day AS day, arrayMap(i -> arraySum(arrayMap(x -> if(x.1 <= i, x.2, 0.), costs)), range(24)) "
        "AS spent_until, spent_until[24] AS day_cost, day_answered, day_with_cost, "
        "min(if(day_answered > 0, toUInt16(days.day), 65535)) OVER () AS first_day "
        f"FROM ({days}) AS days LEFT JOIN ({by_day}) AS used ON days.day = used.day"
    )
    before = "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING"
    framed = (
        "SELECT day, spent_until, first_day, arrayFilter(d -> toUInt16(d.1) > first_day, groupArray((day, "
        f"spent_until)) OVER (ORDER BY day ROWS BETWEEN {MONTH_DAYS} PRECEDING AND 1 PRECEDING)) AS previous, "
        f"sum(day_cost) OVER (PARTITION BY toStartOfMonth(day) ORDER BY day {before}) AS month_before, "
        "sum(day_answered) OVER (PARTITION BY toStartOfMonth(day) ORDER BY day) AS month_answered, "
        "sum(day_with_cost) OVER (PARTITION BY toStartOfMonth(day) ORDER BY day) AS month_with_cost, "
        f"day_answered, day_with_cost FROM ({dense})"
    )
    t = f"{list(T_97_5)!r}"
    return (
        "SELECT toUInt32(toUnixTimestamp(toDateTime(day, 'UTC')) + (h + 1) * 3600) AS until, "
        f"greatest(toInt64(until) - {now_s}, 0) / 3600 AS left, arrayMap(d -> d.2[24] - d.2[h + 1] "
        f"+ left * (d.2[h + 1] - d.2[h]), arraySlice(previous, -{WEEK_DAYS})) AS rests, length(rests) AS k, "
        f"if(k < {LEAST_DAYS}, nan, arrayAvg(rests)) AS rest, "
        f"if(k < {LEAST_DAYS}, nan, {t}[k - 1] * sqrt(arraySum(x -> pow(x - rest, 2), rests) / (k - 1) "
        "* (1 + 1 / k))) AS rest_error, "
        "arrayMap(d -> d.2[24], previous) AS totals, length(totals) AS m, "
        "toFloat64(dateDiff('day', day, toLastDayOfMonth(day))) AS days_left, "
        f"if(m < {LEAST_MONTH_DAYS}, nan, arrayAvg(totals)) AS daily, "
        f"if(m < {LEAST_MONTH_DAYS}, nan, {t}[m - 1] * sqrt(arraySum(x -> pow(x - daily, 2), totals) / (m - 1) "
        "* (days_left + days_left * days_left / m))) AS daily_error, "
        "spent_until[h + 1] AS spent_day, month_before + spent_day AS spent_month, "
        "arrayJoin([('day', spent_day, rest, rest_error, day_answered, day_with_cost), "
        "('month', spent_month, rest + days_left * daily, rest_error + daily_error, month_answered, "
        f"month_with_cost)]) AS one FROM ({framed}) ARRAY JOIN range(24) AS h "
        f"WHERE until > {start_s} AND until <= {end_s} AND toUInt16(day) >= first_day"
    )


def budget_use(model: str, budgets: dict[Period, float], threshold: float = 1.0) -> Signal:
    """Return the signal of the spent or forecast cost of a day or month of UTC, as a share of the budget.

    It exceeds the threshold if what is spent does, or if the lower end of the forecast's 95 % interval does. The rest
    of a day is forecast from the same hours of the previous week, the rest of a month from the mean of the previous
    four weeks. With fewer than three days, or seven for a month, there is no forecast, and what is spent counts.
    """
    budget = f"transform(key, {list(budgets)!r}, {[float(value) for value in budgets.values()]!r}, nan)"
    keys = ", ".join(map(literal, budgets))

    def select(period: EventTimeRange, fact_time: FactTime) -> str:
        numbers = budget_numbers_sql(f"model = {literal(model)}", period.start, period.end)
        shares = (
            f"SELECT until, one.1 AS key, {budget} AS budget, one.2 / budget AS spent, "
            "if(isNaN(one.3), spent, (one.2 + one.3) / budget) AS value, "
            "if(isNaN(one.3), spent, greatest(spent, (one.2 + one.3 - one.4) / budget)) AS low, "
            "if(isNaN(one.3), spent, (one.2 + one.3 + one.4) / budget) AS high, "
            "arrayStringConcat(arrayFilter(x -> x != '', [if(isNaN(one.3), 'no forecast yet', ''), "
            "if(one.6 < one.5, concat('the cost of ', toString(round(100 * one.6 / one.5, 1)), ' % of the calls is "
            "known, so that this is a lower bound'), '')]), '; ') AS reason "
            f"FROM ({numbers}) WHERE key IN ({keys})"
        )
        state = f"if(low > {float(threshold)!r}, {SURE}, {UNSURE})"
        return (
            f"SELECT key, '' AS version, until, until AS ended_at, until + {ARRIVAL_S} AS judged_at, "
            f"tuple(until) AS rank, tuple(toUInt8({state}), value, low, high, 0., reason) AS verdict FROM ({shares})"
        )

    facts = Facts(select, 3 * HOUR_S, has_reason=True)
    return Signal("period", tuple(budgets), threshold, facts, has_versions=False)


def cache_hit_fall(model: str, threshold: float) -> Signal:
    """Return the signal of how much the share of cached input tokens fell, for spans and for inference servers."""
    servers = (
        "SELECT toUInt32(toUnixTimestamp(toStartOfHour(at)) + 3600) AS end, sum(total) AS part, sum(n) AS whole "
        f"FROM serving_facts FINAL WHERE model = {literal(model)} AND name = 'prefix_cache_hits' AND n > 0"
    )
    sources: dict[str, tuple[str, str]] = {
        "spans": (_calls(model, "sum(cached_input_tokens)", "sum(cacheable_tokens)"), "hour"),
        "servers": (servers, "at"),
    }
    return _share_fall("counted_by", sources, threshold)


def token_coverage_fall(model: str, threshold: float) -> Signal:
    """Return the signal of how much the share of answered calls with observed tokens fell."""
    return _share_fall("", {"": (_calls(model, "sum(with_tokens)", "sum(answered)"), "hour")}, threshold)


def _calls(model: str, part: str, whole: str) -> str:
    return (
        f"SELECT toUInt32(toUnixTimestamp(hour) + 3600) AS end, toFloat64({part}) AS part, toFloat64({whole}) AS whole "
        f"FROM model_costs WHERE model = {literal(model)}"
    )


def _share_fall(label: str, sources: dict[str, tuple[str, str]], threshold: float) -> Signal:
    """Return the signal of how much a share fell, from the week before to the last day, by source.

    It exceeds the threshold if the lower end of the 99 % interval does. Both shares are ratios of sums over hours, and
    their errors are those of a ratio whose hours are independent.

    Args:
        label: the name of the key column.
        sources: key → SELECT of `end`, `part` and `whole` per hour without its GROUP BY, and its time column.
        threshold: the difference of the shares.
    """

    def select(period: EventTimeRange, fact_time: FactTime) -> str:
        def hours(key: str, sql: str, time: str) -> str:
            at = "toDateTime({}, 'UTC')" if time == "hour" else "toDateTime64({}, 3, 'UTC')"
            start, end = at.format(f"{period.start} - {9 * DAY_S}"), at.format(period.end)
            return (
                f"SELECT {literal(key)} AS key, end, part, whole FROM ({sql} AND {time} >= {start} AND {time} < {end} "
                "GROUP BY end) WHERE whole > 0"
            )

        union = " UNION ALL ".join(hours(key, sql, time) for key, (sql, time) in sources.items())
        frame = "OVER (PARTITION BY key ORDER BY end RANGE BETWEEN {} PRECEDING AND {})"
        recent = frame.format(DAY_S - 1, "CURRENT ROW")
        earlier = frame.format(8 * DAY_S - 1, f"{DAY_S} PRECEDING")
        framed = (
            f"SELECT key, end, groupArray((part, whole)) {recent} AS recent, groupArray((part, whole)) {earlier} "
            f"AS earlier FROM ({union})"
        )

        def ratio(name: str) -> str:
            return (
                f"length({name}) AS {name}_k, arraySum(x -> x.2, {name}) AS {name}_n, "
                f"arraySum(x -> x.1, {name}) / {name}_n AS {name}_share, {name}_k / ({name}_k - 1) "
                f"* arraySum(x -> pow(x.1 - {name}_share * x.2, 2), {name}) / pow({name}_n, 2) AS {name}_variance"
            )

        shares = (
            f"SELECT key, end, {ratio('recent')}, {ratio('earlier')}, earlier_share - recent_share AS fall, "
            f"{Z_99} * sqrt(recent_variance + earlier_variance) AS error FROM ({framed}) "
            f"WHERE end > {period.start} AND end <= {period.end}"
        )
        is_enough = (
            f"recent_k >= {RECENT_HOURS} AND earlier_k >= {EARLIER_HOURS} "
            f"AND recent_n >= {LEAST_N} AND earlier_n >= {LEAST_N}"
        )
        state = f"multiIf(NOT ({is_enough}), {EMPTY}, fall - error > {float(threshold)!r}, {SURE}, {UNSURE})"
        return (
            f"SELECT key, '' AS version, end AS until, until AS ended_at, until + {ARRIVAL_S} AS judged_at, "
            f"tuple(until) AS rank, tuple(toUInt8({state}), fall, fall - error, fall + error, 0.) AS verdict "
            f"FROM ({shares})"
        )

    return Signal(label, tuple(sources), threshold, Facts(select, 2 * DAY_S), has_versions=False)
