"""Signals from the monitor's verdicts: drift, rates, lost events, and how old the newest verdict is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from warehouse.signals.literals import literal, literals
from warehouse.signals.signal import EMPTY, RENEWED, SURE, UNSURE, Facts, Known, Signal, Span

HOUR_S = 3600
LAG_REACH_S = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Pane:
    """How the panes of a model come to be sealed."""

    pane_s: int
    lateness_s: int
    out_of_order_s: int

    @property
    def sealed_after_s(self) -> int:
        """How long after its end a pane is sealed at the earliest."""
        return self.lateness_s + self.out_of_order_s

    def stale_s(self, hop_s: int) -> int:
        """After how long a window's verdict says nothing: two more are due, and an hour has passed."""
        return 2 * hop_s + self.pane_s + self.sealed_after_s + HOUR_S


@dataclass(frozen=True, slots=True)
class WindowOf:
    """A window of a contract: its name in tables and its hop."""

    name: str
    hop_s: int


def psi(model: str, fields: Sequence[str], long: WindowOf, short: WindowOf, pane: Pane, line: float) -> Signal:
    """PSI of fields, over all versions with traffic the greatest, where both windows agree."""

    def facts(window: WindowOf) -> Facts:
        def select(span: Span, known: Known) -> str:
            state = (
                f"multiIf(n = 0, {EMPTY}, level != 'insufficient', {SURE}, "
                f"renewed.effective > toUnixTimestamp(window_start), {RENEWED}, {UNSURE})"
            )
            # Windows that reach over a new baseline have a verdict on either: the newer one counts.
            return (
                "SELECT field AS key, version, toUnixTimestamp(window_end) AS until, until AS ended_at, "
                f"{_seconds('judged_at')} AS judged_at, tuple(until, renewed.effective, record_seq) AS rank, "
                f"tuple(toUInt8({state}), psi, psi_low, psi_high, 0.) AS verdict FROM drift AS given LEFT ANY JOIN "
                "(SELECT baseline_id, toUnixTimestamp(max(effective_from)) AS effective FROM baselines "
                f"WHERE model = {literal(model)} GROUP BY baseline_id) AS renewed USING (baseline_id) "
                f"WHERE {_where(model, window, span)} AND field IN {literals(fields)}"
            )

        return Facts(select, pane.stale_s(window.hop_s), window.name)

    alone = long.name == short.name
    return Signal("field", tuple(fields), line, facts(short), None if alone else facts(long))


def rate(
    model: str,
    fields: Sequence[str],
    kinds: Sequence[str],
    window: WindowOf,
    pane: Pane,
    line: float,
) -> Signal:
    """How much more often values are of some kinds than in training, over versions and kinds the greatest.

    It is over the line only where it surely is: where all of its interval is.

    Args:
        model: of which.
        fields: of which.
        kinds: `null`, `invalid`, `below`, `above`, `unseen`.
        window: which is read, alone.
        pane: of the model.
        line: a change as a share.
    """

    def select(span: Span, known: Known) -> str:
        state = f"multiIf(n = 0, {EMPTY}, delta_low > {float(line)!r}, {SURE}, {UNSURE})"
        # Of several kinds, as of several versions, the greatest counts: each is a version of its own here.
        return (
            "SELECT field AS key, concat(version, '\\n', kind) AS version, toUnixTimestamp(window_end) AS until, "
            f"until AS ended_at, {_seconds('judged_at')} AS judged_at, tuple(until, record_seq) AS rank, "
            f"tuple(toUInt8({state}), delta, delta_low, delta_high, 0.) AS verdict FROM rates "
            f"WHERE {_where(model, window, span)} AND field IN {literals(fields)} AND kind IN {literals(kinds)}"
        )

    return Signal("field", tuple(fields), line, Facts(select, pane.stale_s(window.hop_s), window.name))


def loss(model: str, window: WindowOf, pane: Pane, line: float) -> Signal:
    """The share of events that was lost before it was counted, of the version that lost most."""

    def select(span: Span, known: Known) -> str:
        return (
            "SELECT '' AS key, version, toUnixTimestamp(window_end) AS until, until AS ended_at, "
            f"{_seconds('judged_at')} AS judged_at, tuple(until, record_seq) AS rank, "
            f"tuple(toUInt8({SURE}), 1 - completeness, nan, nan, 0.) AS verdict "
            f"FROM rates WHERE {_where(model, window, span)} AND kind = 'error'"
        )

    return Signal("", ("",), line, Facts(select, pane.stale_s(window.hop_s), window.name))


def verdict_age(model: str, window: WindowOf, line: float) -> Signal:
    """Seconds since the end of the newest window that was judged; where none was, since the model was applied."""

    def select(span: Span, known: Known) -> str:
        judged = (
            f"SELECT toUnixTimestamp(window_end) AS end, min({_seconds('judged_at')}) AS known FROM rates "
            f"WHERE {_where(model, window, span)} AND kind = 'error' GROUP BY end"
        )
        # Nothing is judged before there is a contract and a baseline.
        applied = (
            f"SELECT toUnixTimestamp(max(at)) AS end, end AS known FROM (SELECT min(applied_at) AS at FROM contracts "
            f"WHERE model = {literal(model)} HAVING count() > 0 UNION ALL SELECT min(accepted_at) AS at FROM baselines "
            f"WHERE model = {literal(model)} HAVING count() > 0) HAVING count() = 2"
        )
        # What was applied longer ago than is looked back counts as if that were just now reached.
        reached = f"SELECT greatest(toUInt32(end), toUInt32({span.start} + 1)) AS end, known FROM ({applied})"
        return (
            "SELECT '' AS key, '' AS version, toUInt32(end) AS until, until AS ended_at, "
            "greatest(toUInt32(known), until) AS judged_at, tuple(until) AS rank, "
            f"tuple(toUInt8({SURE}), 0., nan, nan, 1.) AS verdict FROM ({judged} UNION ALL {reached})"
        )

    return Signal("", ("",), line, Facts(select, LAG_REACH_S), has_versions=False)


def _where(model: str, window: WindowOf, span: Span) -> str:
    return (
        f"model = {literal(model)} AND slice = 'all' AND window = {literal(window.name)} "
        f"AND window_end > toDateTime({span.start}) AND window_end <= toDateTime({span.end})"
    )


def _seconds(column: str) -> str:
    """A time of milliseconds as whole Unix seconds, rounded up: not before it was known."""
    return f"toUInt32(ceil(toUnixTimestamp64Milli({column}) / 1000))"
