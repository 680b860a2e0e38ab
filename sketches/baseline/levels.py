"""The four levels of a verdict, and the reasons for the level `insufficient`."""

from enum import IntEnum


class Level(IntEnum):
    """Verdict on one field in one window; the numbers are those of arrays of verdicts.

    `insufficient` is not a fourth degree of drift: it means that the window has too few independent events for a
    verdict, and is never shown as healthy. So levels are compared by name, never by size.
    """

    stable = 0
    minor = 1
    major = 2
    insufficient = 3


LEVEL_NAMES: tuple[str, ...] = tuple(level.name for level in Level)
"""Names by number, to convert an array of levels to strings: `np.array(LEVEL_NAMES)[levels]`."""


class InsufficientReason(IntEnum):
    """Why a verdict is `insufficient`; the numbers are those of arrays of verdicts.

    If several reasons apply, the first of this order is reported, `baseline_change`, `partly_recorded` and
    `no_baseline` before all others: they exclude the window as a whole.
    """

    none = 0
    """The level is not `insufficient`."""
    no_events = 1
    """The window has no event."""
    few_training_rows = 2
    """The baseline has so few rows that no number of events would suffice."""
    lost_events = 3
    """The events that were lost would have sufficed together with those that were counted."""
    correlated_events = 4
    """The events would suffice if they were independent, but their overdispersion φ is too large."""
    too_few_events = 5
    """The window has too few events."""
    partly_recorded = 6
    """The recorded history covers only a part of the window: it begins later, or has ended before."""
    baseline_change = 7
    """The window contains a change of the baseline."""
    too_few_labels = 8
    """Too few predictions have a label."""
    undefined_metric = 9
    """The metric is undefined: a precision without predicted positives, for example."""
    no_reference = 10
    """There is no reference to compare with, or it has too few labels."""
    too_few_units = 11
    """Too few units were assigned to the arms of a test."""
    no_units = 12
    """No unit of the test is recorded: there was no traffic, or the contract records no raw predictions."""
    no_baseline = 13
    """The model has no baseline with rows yet."""


REASON_NAMES: tuple[str, ...] = ("", *(reason.name.replace("_", " ") for reason in InsufficientReason if reason))
"""Values of the column `reason` by number; empty if the level is not `insufficient`."""
