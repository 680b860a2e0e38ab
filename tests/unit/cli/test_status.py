"""Output of `status` before processors have reported."""

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from cli.status.incidents import OpenIncidents
from cli.status.read import FORGOTTEN_S, PipelineStatus
from cli.status.show import print_status
from cli.terminal import Terminal
from warehouse.status import ProcessorRow

AT = datetime(2026, 3, 1, tzinfo=UTC)


def printed(*processors: ProcessorRow) -> str:
    output = io.StringIO()
    print_status(Terminal(Console(file=output)), PipelineStatus((), processors, ()), OpenIncidents())
    return output.getvalue()


def processor(silent_s: int) -> ProcessorRow:
    return ProcessorRow("monitor", "a", AT, silent_s, "h", 1, AT, 0, 0, 0.0, 0, 0, AT, {})


@pytest.mark.parametrize(
    ("processors", "text"),
    [
        ((), "No processor has reported yet: one that has just started reports within ten seconds."),
        ((processor(FORGOTTEN_S + 1),), "No processor has reported for a day: start them"),
    ],
)
def test_a_new_stack_is_not_a_dead_one(processors: tuple[ProcessorRow, ...], text: str) -> None:
    assert text in printed(*processors)
