"""The interval of the median in the benchmark of shadows."""

from __future__ import annotations

from benchmarks.shadowing import describe_median


def test_ten_rounds_have_an_interval_between_the_second_values_from_both_ends() -> None:
    ratios = [1.0, 1.5, 0.9, 1.2, 1.1, 1.05, 1.3, 1.4, 0.8, 1.25]
    assert describe_median(ratios) == "95% interval of the median 0.900 to 1.400"


def test_five_rounds_are_too_few_for_an_interval() -> None:
    assert describe_median([1.0, 1.1, 1.2, 1.3, 1.4]) == ""
