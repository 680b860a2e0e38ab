"""What is or was to be done in Grafana, in words, line by line."""

from __future__ import annotations

from collections.abc import Iterator

from cli.apply.grafana.plan import GrafanaPlan, ObjectDiff, State

_SHOWN = 8
"""Differences of one object that are shown."""

_WHY_LEFT = {
    State.EDITED: "was edited by hand since the last apply{by}; --overwrite-grafana puts ours back",
    State.FOREIGN: "is there and was not applied from here{by}; --overwrite-grafana takes it over",
    State.LOCKED: "comes from a file and differs; take it out of Grafana's provisioning",
}


def grafana_lines(plan: GrafanaPlan) -> Iterator[str]:
    """Describe a plan; `+` is created, `~` changed, `!` is left as it is, or worth knowing."""
    for finding in plan.written:
        yield from _written(finding)
    if plan.unrecorded:
        count = len(plan.unrecorded)
        yield f"~ Grafana: the record of {count} object{'s' if count != 1 else ''} that the last apply left without one"
    for finding in plan.left:
        yield f"! Grafana: {finding.item.label} {_WHY_LEFT[finding.state].format(by=_by(finding))}"
        yield from _differences(finding)
    yield from (f"! Grafana: {note}" for note in plan.notes)


def left_sentence(plan: GrafanaPlan) -> str:
    """Say what differs and was left, and what can be done."""
    names = ", ".join(finding.item.label for finding in plan.left)
    return (
        f"Left as they are in Grafana, since they are not as the last apply wrote them: {names}. Undo there what was "
        "edited by hand, or run the same with --overwrite-grafana."
    )


def _written(finding: ObjectDiff) -> Iterator[str]:
    label = f"Grafana: {finding.item.label}"
    if finding.state is State.NEW:
        yield f"+ {label}" + (", which somebody deleted" if finding.recorded else "")
        return
    if finding.state is State.EDITED:
        label += f", over what was edited by hand{_by(finding)}"
    elif finding.state is State.FOREIGN:
        label += f", over what was not applied from here{_by(finding)}"
    yield f"~ {label}"
    yield from _differences(finding)


def _differences(finding: ObjectDiff) -> Iterator[str]:
    lines = finding.differences
    yield from (f"    {line}" for line in lines[:_SHOWN])
    if len(lines) > _SHOWN:
        yield f"    … and {len(lines) - _SHOWN} more"


def _by(finding: ObjectDiff) -> str:
    editor = finding.found.editor if finding.found is not None else ""
    return f" ({editor})" if editor else ""
