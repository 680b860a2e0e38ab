"""Days before a margin can be shown, because harm may be concentrated in rare days.

A candidate that loses b of its pairs on a share m/b of the days, and equals the primary on all others, loses m on
average. It shows no difference in T days with probability (1 − m/b)^T. So no method can show at level α that a
candidate loses less than m before

    T = ln(1/α) / −ln(1 − m/b).

b is the contract's `worst_day`: an assumption that no data replaces.
"""

import math

from barograph_server.sketches.rollout.day_interval import BURN_IN_DAYS

WORST_DAY = 0.1
"""Default of the loss per pair on a bad day."""


def rare_harm_days(margin: float, worst_day: float = WORST_DAY, alpha: float = 0.05) -> float:
    """Return T; 0 if the margin is at least the loss of the worst day.

    Args:
        margin: acceptable loss per pair, m > 0.
        worst_day: assumed loss per pair on a bad day, b > 0, in the unit of the margin.
        alpha: probability that no bad day occurs in T days.

    Raises:
        ValueError: if margin or worst day is not above 0, or α is not between 0 and 1.
    """
    _check(worst_day, alpha)
    if not margin > 0.0:
        raise ValueError(f"a margin must be above 0, not {margin}: no data shows that a candidate is exactly as good")
    return 0.0 if margin >= worst_day else math.log(alpha) / math.log1p(-margin / worst_day)


def least_days(margin: float, worst_day: float = WORST_DAY, alpha: float = 0.05) -> int:
    """Return the whole days before which a margin is never shown: the larger of T and the burn-in."""
    return max(BURN_IN_DAYS, math.ceil(rare_harm_days(margin, worst_day, alpha)))


def unseen_loss(days: int, worst_day: float = WORST_DAY, alpha: float = 0.05) -> float:
    """Return the loss per pair that stays possible after days without any difference: b (1 − α^(1/t)).

    It is the inverse of T: less than the margin after more than T days.

    Args:
        days: independent days in which every answer was as good as the primary's.
        worst_day: as for `rare_harm_days`.
        alpha: probability that the loss is larger.
    """
    _check(worst_day, alpha)
    return -worst_day * math.expm1(math.log(alpha) / days) if days else worst_day


def days_left(days: int, value: float, half: float, margin: float) -> float:
    """Return about how many more days the interval needs to exclude −margin; ∞ if the value is at or below −margin.

    Half-widths shrink like 1/√t. The value is taken as final, so this is a forecast without guarantee.
    """
    distance = value + margin
    return max(0.0, days * (half / distance) ** 2 - days) if distance > 0.0 else math.inf


def _check(worst_day: float, alpha: float) -> None:
    if not worst_day > 0.0:
        raise ValueError(f"the loss on a bad day must be above 0, not {worst_day}")
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"α must lie between 0 and 1, not at {alpha}")
