"""Text output of the changes in Grafana."""

from __future__ import annotations

from collections.abc import Iterator

from barograph_server.provisioning.grafana.plan import GrafanaPlan, PlannedResource, ResourceState
from barograph_server.terminal import plural

_MAX_SHOWN = 8
"""Differences of one object that are shown at most."""

_SKIP_REASONS = {
    ResourceState.EDITED: "was edited by hand since the last apply{by}; --overwrite-grafana reverts the edit",
    ResourceState.FOREIGN: "exists and was not applied from here{by}; --overwrite-grafana takes it over",
    ResourceState.LOCKED: "is provisioned from a file and differs; remove it from Grafana's provisioning",
}


def grafana_lines(plan: GrafanaPlan) -> Iterator[str]:
    """Describe a plan: `+` marks an object to create, `~` one to change, `!` one that is skipped, or a note."""
    for planned in plan.written:
        yield from _written_lines(planned)
    if plan.unrecorded:
        yield f"~ Grafana: record {plural(len(plan.unrecorded), 'applied object')} missing from the ledger"
    for planned in plan.skipped:
        yield f"! Grafana: {planned.resource.label} {_SKIP_REASONS[planned.state].format(by=_editor_suffix(planned))}"
        yield from _difference_lines(planned)
    yield from (f"! Grafana: {note}" for note in plan.notes)


def skipped_message(plan: GrafanaPlan) -> str:
    """Name the skipped objects, and what to do about them."""
    names = ", ".join(planned.resource.label for planned in plan.skipped)
    return (
        f"Skipped in Grafana, because they differ from the last apply: {names}. Undo the edits there, or run the "
        "command with --overwrite-grafana."
    )


def _written_lines(planned: PlannedResource) -> Iterator[str]:
    label = f"Grafana: {planned.resource.label}"
    if planned.state is ResourceState.NEW:
        yield f"+ {label}" + (", which someone deleted" if planned.recorded else "")
        return
    if planned.state is ResourceState.EDITED:
        label += f", overwriting a manual edit{_editor_suffix(planned)}"
    elif planned.state is ResourceState.FOREIGN:
        label += f", overwriting an object that was not applied from here{_editor_suffix(planned)}"
    yield f"~ {label}"
    yield from _difference_lines(planned)


def _difference_lines(planned: PlannedResource) -> Iterator[str]:
    lines = planned.differences
    yield from (f"    {line}" for line in lines[:_MAX_SHOWN])
    if len(lines) > _MAX_SHOWN:
        yield f"    … and {len(lines) - _MAX_SHOWN} more"


def _editor_suffix(planned: PlannedResource) -> str:
    editor = planned.current.editor if planned.current is not None else ""
    return f" ({editor})" if editor else ""
