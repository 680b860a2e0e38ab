"""Suites that `eval run` runs: a task of inspect-ai, the model and its limits, in YAML."""

from dataclasses import dataclass
from pathlib import Path

from barograph.contract.kinds import IntegerKind, Key, RecordKind, TextKind

from barograph_server.contracts import read_suite_values
from barograph_server.errors import CommandError

FORMAT = 1
LIMITS = RecordKind(
    (
        Key("items", IntegerKind(1, 1_000_000), "run only the first items", "all"),
        Key("connections", IntegerKind(1, 1_000), "calls at the same time", "2"),
        Key("seconds", IntegerKind(1, 7 * 86_400), "longest duration of the run", "3600"),
    )
)
SUITE = RecordKind(
    (
        Key("suite", IntegerKind(FORMAT, FORMAT), "the version of the format", str(FORMAT), required=True),
        Key("task", TextKind(), "the file of the task, relative to this one", "answers.py", required=True),
        Key("model", TextKind(), "the model as inspect-ai names it", "openai-api/local/NAME", required=True),
        Key("endpoint", TextKind(), "the base URL of the model", "http://127.0.0.1:8080/v1"),
        Key("epochs", IntegerKind(1, 1_000), "how often each item is answered", "1"),
        Key("limits", LIMITS, "limits of a run"),
    )
)


@dataclass(frozen=True, slots=True)
class EvalSuite:
    """A suite file."""

    task: Path
    """The task's file; it exists."""
    model: str
    """As inspect-ai names it, with its provider."""
    endpoint: str | None
    """None for the provider's own."""
    epochs: int
    items: int | None
    """None for all."""
    connections: int
    seconds: int
    """Longest duration of a run."""


def read_suite_file(path: Path) -> EvalSuite:
    """Read a suite. Errors are those of `read_suite_values`."""
    values = read_suite_values(path, SUITE, "suite, task and model, as docs/suites.md")
    task = (path.parent / values["task"]).resolve()
    if not task.is_file():
        raise CommandError(f"The suite {path} names the task {values['task']}, but there is no file {task}.")
    limits = values.get("limits", {})
    return EvalSuite(
        task=task,
        model=values["model"],
        endpoint=values.get("endpoint"),
        epochs=values.get("epochs", 1),
        items=limits.get("items"),
        connections=limits.get("connections", 2),
        seconds=limits.get("seconds", 3600),
    )
