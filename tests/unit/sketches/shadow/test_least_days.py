"""Days before a margin can be shown."""

from __future__ import annotations

import math

import pytest

from sketches.shadow.least_days import days_left, least_days, rare_harm_days, unseen_loss


@pytest.mark.parametrize(("worst_day", "margin", "days"), [(0.25, 0.005, 148.283704083), (0.25, 0.02, 35.9279739462)])
def test_golden_days(worst_day: float, margin: float, days: float) -> None:
    assert rare_harm_days(margin, worst_day) == pytest.approx(days, abs=1e-9)
    assert least_days(margin, worst_day) == math.ceil(days)


def test_defaults() -> None:
    assert rare_harm_days(0.01) == pytest.approx(28.4, abs=0.05)
    assert rare_harm_days(0.005) == pytest.approx(58.4, abs=0.05)


def test_the_burn_in_is_the_least() -> None:
    assert least_days(0.05) == 28
    assert rare_harm_days(0.1, 0.1) == 0.0
    assert least_days(0.2, 0.1) == 28


def test_the_loss_that_stays_possible_is_the_inverse() -> None:
    days = least_days(0.005)
    assert unseen_loss(days) < 0.005 <= unseen_loss(days - 1)
    assert unseen_loss(0) == 0.1


def test_days_left_follow_the_half_width() -> None:
    assert days_left(40, 0.0, 0.02, 0.01) == pytest.approx(120.0)
    assert days_left(40, 0.01, 0.01, 0.01) == 0.0
    assert days_left(40, -0.01, 0.02, 0.01) == math.inf


@pytest.mark.parametrize(("margin", "worst_day", "alpha"), [(0.0, 0.1, 0.05), (0.01, 0.0, 0.05), (0.01, 0.1, 1.0)])
def test_invalid_arguments_are_rejected(margin: float, worst_day: float, alpha: float) -> None:
    with pytest.raises(ValueError):
        rare_harm_days(margin, worst_day, alpha)
