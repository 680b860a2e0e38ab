"""Signals from the monitor's verdicts: drift, rates, lost events, and the age of the newest verdict."""

from collections.abc import Sequence
from dataclasses import dataclass

from barograph_server.warehouse.signals.literals import literal, literals
from barograph_server.warehouse.signals.signal import (
    AMPLE,
    EMPTY,
    ONSET_REACH_S,
    RENEWED,
    SURE,
    UNSURE,
    EventTimeRange,
    Facts,
    FactTime,
    Signal,
)

HOUR_S = 3600
LAG_REACH_S = 7 * 86_400
PSI = "psi"
"""Signal of the verdicts on distributions in the table of causes."""
CAUSE_REACH_S = 7 * 86_400
"""Age up to which the cause of a verdict is shown: an alert may fire for days."""
SHOWN_OTHERS = 5
"""Most fields that a message names besides its own."""
ALONE_EVENTS = 500
"""Events that a window needs to page alone.

With fewer, a rare category in traffic that repeats itself is in too few windows for φ to be learned, and one run of
equal events looks like a large shift. `tests/property/test_false_alarms.py` counts such windows: 62 of 10,000 with 300
events in runs of 50, 1 with 500."""

RATE_P = 1e-4
"""A rate fires only if it differs from training with a smaller p.

A rule reads a window per field and hop, 96 a day and field by default, so that the 95 % interval alone lies above the
threshold by chance every few days if a window has few events."""

LIKE, UNLIKE = "like training", "unlike training"
"""What is shown in place of `insufficient` for a window that has too few independent readings for a level of drift, if
its mean rank tells."""
FEW_ROWS = "few training rows"
"""The reason of windows that no number of events could judge."""
FEW_READINGS = ("correlated events", "too few events", FEW_ROWS)
"""Reasons of insufficient verdicts on drift whose windows can be compared with those of training all the same."""
UNLIKE_P, UNLIKE_RANK, LIKE_P = 1e-3, 0.1, 0.05
"""A window is unlike those of training if the p of its mean rank is below the first, and the rank is farther from one
half than the second. With a p above the third it ends an alert, and is like them if the rank is no farther."""


def is_unlike(of: str = "", rank: float = UNLIKE_RANK) -> str:
    """Return the condition that a verdict on drift is of a window unlike those of training.

    Args:
        of: qualifier of the columns, with its dot.
        rank: distance of the mean rank from one half that is exceeded.
    """
    return f"{of}mean_p < {UNLIKE_P!r} AND abs({of}mean_rank - 0.5) > {float(rank)!r}"


def is_like(of: str = "") -> str:
    """Return the condition that it is of a window like those of training. A large p alone may mean few readings."""
    return f"{of}mean_p > {LIKE_P!r} AND abs({of}mean_rank - 0.5) <= {UNLIKE_RANK!r}"


@dataclass(frozen=True, slots=True)
class PaneTiming:
    """When the panes of a model are sealed."""

    pane_s: int
    lateness_s: int
    out_of_order_s: int

    @property
    def sealed_after_s(self) -> int:
        """The earliest time after its end at which a pane is sealed, in seconds."""
        return self.lateness_s + self.out_of_order_s

    def stale_s(self, hop_s: int) -> int:
        """Return the age at which a window's verdict expires: two more are due, and an hour has passed."""
        return 2 * hop_s + self.pane_s + self.sealed_after_s + HOUR_S


@dataclass(frozen=True, slots=True)
class HoppingWindow:
    """A window of a contract: its name in tables, and its hop."""

    name: str
    hop_s: int


def psi(
    model: str,
    fields: Sequence[str],
    long: HoppingWindow,
    short: HoppingWindow,
    pane: PaneTiming,
    threshold: float,
    fast: Sequence[HoppingWindow] = (),
    fast_threshold: float | None = None,
) -> Signal:
    """Return the signal of the fields' PSI, the maximum over versions with traffic.

    It exceeds the threshold if the long and the short window agree, or if the whole interval of the short or of a fast
    window with at least `ALONE_EVENTS` events is above the fast threshold.

    Args:
        short: the short window; equal to `long` if there is only one.
        threshold: PSI that both windows exceed.
        fast: further windows shorter than `long`.
        fast_threshold: at least `threshold`; None: no window suffices alone.
    """
    changes = _changes(model, (PSI,), f"(level != 'stable' OR psi > {float(threshold)!r})", "Drifting")

    def facts(window: HoppingWindow) -> Facts:
        def select(period: EventTimeRange, fact_time: FactTime) -> str:
            is_renewed = "level = 'insufficient' AND n > 0 AND renewed.effective > toUnixTimestamp(window_start)"
            state = (
                f"multiIf(n = 0, {EMPTY}, level != 'insufficient', if(n >= {ALONE_EVENTS}, {AMPLE}, {SURE}), "
                f"{is_renewed}, {RENEWED}, {UNSURE})"
            )
            # Of two baselines in a window the one with more events counts, but a new one ends the alert at once.
            return (
                "SELECT field AS key, version, toUnixTimestamp(window_end) AS until, until AS ended_at, "
                f"{_seconds('judged_at')} AS judged_at, tuple(until, {is_renewed}, record_seq, n) AS rank, "
                f"tuple(toUInt8({state}), psi, psi_low, psi_high, 0., reason) AS verdict FROM drift AS verdicts "
                "LEFT ANY JOIN (SELECT baseline_id, toUnixTimestamp(max(effective_from)) AS effective FROM baselines "
                f"WHERE model = {literal(model)} GROUP BY baseline_id) AS renewed USING (baseline_id) "
                f"WHERE {_where(model, window, period)} AND field IN {literals(fields)}"
            )

        return Facts(select, pane.stale_s(window.hop_s), window.name, has_reason=True)

    if long.name == short.name:
        return Signal("field", tuple(fields), threshold, facts(short), changes=changes)
    return Signal(
        *("field", tuple(fields), threshold, facts(short), facts(long)),
        fast=tuple(map(facts, fast)),
        fast_threshold=fast_threshold,
        changes=changes,
    )


def rate(
    model: str, fields: Sequence[str], kinds: Sequence[str], window: HoppingWindow, pane: PaneTiming, threshold: float
) -> Signal:
    """Return the signal of the increase of a rate over training, the maximum over versions and kinds.

    It exceeds the threshold only if its whole interval does, and lies above what windows of training repeatedly had,
    and p is below `RATE_P`.

    Args:
        kinds: `null`, `invalid`, `below`, `above`, `unseen`.
        window: the only window that is read.
        threshold: the increase, as a share.
    """

    def select(period: EventTimeRange, fact_time: FactTime) -> str:
        is_sure = f"delta_low > greatest({float(threshold)!r}, training_delta) AND p_value < {RATE_P!r}"
        state = f"multiIf(n = 0, {EMPTY}, {is_sure}, {SURE}, {UNSURE})"
        # The maximum over kinds counts, as over versions, so each kind is treated as a version.
        return (
            "SELECT field AS key, concat(version, '\\n', kind) AS version, toUnixTimestamp(window_end) AS until, "
            f"until AS ended_at, {_seconds('judged_at')} AS judged_at, tuple(until, record_seq, n) AS rank, "
            f"tuple(toUInt8({state}), delta, delta_low, delta_high, 0.) AS verdict FROM rates "
            f"WHERE {_where(model, window, period)} AND field IN {literals(fields)} AND kind IN {literals(kinds)}"
        )

    facts = Facts(select, pane.stale_s(window.hop_s), window.name)
    changes = _changes(model, kinds, f"(level != 'stable' OR delta > {float(threshold)!r})", "Not stable")
    return Signal("field", tuple(fields), threshold, facts, changes=changes)


def mean_shift(model: str, fields: Sequence[str], window: HoppingWindow, pane: PaneTiming, threshold: float) -> Signal:
    """Return the signal of the distance of the mean rank from one half, of windows on which PSI cannot decide."""

    def select(period: EventTimeRange, fact_time: FactTime) -> str:
        is_undecided = f"level = 'insufficient' AND reason IN {FEW_READINGS}"
        is_over = f"level != 'insufficient' OR {is_undecided} AND mean_p > {LIKE_P!r}"
        is_sure = f"{is_over} OR {is_undecided} AND {is_unlike(rank=threshold)}"
        state = f"multiIf(n = 0, {EMPTY}, {is_sure}, {SURE}, {UNSURE})"
        unknown = f"isNaN(mean_p) OR reason NOT IN {FEW_READINGS}, {float(threshold)!r}"
        value = f"multiIf({is_over}, 0., {unknown}, abs(mean_rank - 0.5))"
        return (
            "SELECT field AS key, version, toUnixTimestamp(window_end) AS until, until AS ended_at, "
            f"{_seconds('judged_at')} AS judged_at, tuple(until, record_seq, n) AS rank, "
            f"tuple(toUInt8({state}), {value}, nan, nan, 0.) AS verdict FROM drift "
            f"WHERE {_where(model, window, period)} AND field IN {literals(fields)}"
        )

    facts = Facts(select, pane.stale_s(window.hop_s), window.name)
    changes = _changes(model, (PSI,), is_unlike(rank=threshold), "Unlike training", f"reason IN {('', *FEW_READINGS)}")
    return Signal("field", tuple(fields), threshold, facts, changes=changes)


def _changes(
    model: str, kinds: Sequence[str], is_beyond: str, since: str, is_known: str = "level != 'insufficient'"
) -> str:
    """Return the query for sentences on each field that changed: since when, which others, and why.

    A window with insufficient data ends no change. Others are the fields whose change began within a day of this
    one. The guard writes causes up to a minute after the verdict, so the first message may lack them.

    Args:
        is_beyond: the condition of a verdict on a change.
        since: the start of the first sentence.
        is_known: the condition of a verdict that counts.
    """
    table, of_kinds, kind = "rates", f" AND kind IN {literals(kinds)}", ", kind"
    if tuple(kinds) == (PSI,):
        table, of_kinds, kind = "drift", "", ""
    runs = (
        "SELECT field, maxIf(window_end, NOT beyond) AS last_ok, maxIf(window_end, beyond) AS last_beyond, "
        "arrayMin(arrayFilter(at -> at > last_ok, groupArrayIf(window_end, beyond))) AS start "
        f"FROM (SELECT *, {is_beyond} AS beyond FROM {table} WHERE model = {literal(model)} AND slice = 'all' "
        f"AND {is_known} AND window_end > now() - {ONSET_REACH_S}{of_kinds}) "
        f"GROUP BY field, version, window{kind} "
        f"HAVING last_beyond > last_ok AND last_beyond > now() - {CAUSE_REACH_S}"
    )
    causes = (
        f"SELECT field, toUnixTimestamp(window_end) AS at, text FROM likely_causes WHERE model = {literal(model)} "
        f"AND window_end > now() - {CAUSE_REACH_S} AND signal IN {literals(kinds)} AND rank = 1"
    )
    others = "arrayFilter(other -> other.1 != field AND abs(other.2 - start) <= 86400, everywhere)"
    return (
        f"WITH starts AS (SELECT field, toUnixTimestamp(min(start)) AS start FROM ({runs}) GROUP BY field), "
        f"(SELECT groupArray((field, start)) FROM (SELECT * FROM starts ORDER BY field)) AS everywhere "
        f"SELECT field AS key, concat({literal(f' {since} since ')}, formatDateTime(toDateTime(start, 'UTC'), "
        "'%F %H:%i UTC'), '.') AS onset, "
        f"arrayStringConcat(arrayMap(other -> other.1, arraySlice({others}, 1, {SHOWN_OTHERS})), ', ') AS named, "
        f"concat(onset, if(named = '', '', concat(' Since about then also ', named, '.')), "
        "argMaxIf(concat(' ', text), at, at >= start AND text != '')) AS change "
        f"FROM starts LEFT JOIN ({causes}) AS causes USING (field) GROUP BY field, start"
    )


def loss(model: str, window: HoppingWindow, pane: PaneTiming, threshold: float) -> Signal:
    """Return the signal of the share of events lost before counting, of the version with the largest share."""

    def select(period: EventTimeRange, fact_time: FactTime) -> str:
        return (
            "SELECT '' AS key, version, toUnixTimestamp(window_end) AS until, until AS ended_at, "
            f"{_seconds('judged_at')} AS judged_at, tuple(until, record_seq) AS rank, "
            f"tuple(toUInt8({SURE}), 1 - completeness, nan, nan, 0.) AS verdict "
            f"FROM rates WHERE {_where(model, window, period)} AND kind = 'error'"
        )

    return Signal("", ("",), threshold, Facts(select, pane.stale_s(window.hop_s), window.name))


def verdict_age(model: str, window: HoppingWindow, threshold: float) -> Signal:
    """Return the signal of the seconds since the end of the newest judged window, or since the model was applied."""

    def select(period: EventTimeRange, fact_time: FactTime) -> str:
        judged = (
            f"SELECT toUnixTimestamp(window_end) AS end, min({_seconds('judged_at')}) AS known FROM rates "
            f"WHERE {_where(model, window, period)} AND kind = 'error' GROUP BY end"
        )
        # Judging requires a contract and a baseline.
        applied = (
            f"SELECT toUnixTimestamp(max(at)) AS end, end AS known FROM (SELECT min(applied_at) AS at FROM contracts "
            f"WHERE model = {literal(model)} HAVING count() > 0 UNION ALL SELECT min(accepted_at) AS at FROM baselines "
            f"WHERE model = {literal(model)} HAVING count() > 0) HAVING count() = 2"
        )
        # A model applied before the range counts as applied at its start.
        applied_in_range = (
            f"SELECT greatest(toUInt32(end), toUInt32({period.start} + 1)) AS end, known FROM ({applied})"
        )
        return (
            "SELECT '' AS key, '' AS version, toUInt32(end) AS until, until AS ended_at, "
            "greatest(toUInt32(known), until) AS judged_at, tuple(until) AS rank, "
            f"tuple(toUInt8({SURE}), 0., nan, nan, 1.) AS verdict FROM ({judged} UNION ALL {applied_in_range})"
        )

    return Signal("", ("",), threshold, Facts(select, LAG_REACH_S), has_versions=False)


def _where(model: str, window: HoppingWindow, period: EventTimeRange) -> str:
    return (
        f"model = {literal(model)} AND slice = 'all' AND window = {literal(window.name)} "
        f"AND window_end > toDateTime({period.start}) AND window_end <= toDateTime({period.end})"
    )


def _seconds(column: str) -> str:
    """Return the expression for a time in whole Unix seconds, rounded up, so that it is not before the original."""
    return f"toUInt32(ceil(toUnixTimestamp64Milli({column}) / 1000))"
