"""Reads a log of any known format."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from barograph_server.evaluation.suites.logs.inspect_log import is_inspect_log, read_eval_file, read_inspect
from barograph_server.evaluation.suites.logs.json_values import EvalLogError, decode_object, read_bytes
from barograph_server.evaluation.suites.logs.lm_eval_log import is_lm_eval_results, read_lm_eval
from barograph_server.evaluation.suites.logs.promptfoo_log import is_promptfoo_log, read_promptfoo
from barograph_server.warehouse.evaluation.eval_runs import EvalRun

FORMATS = "inspect-ai (.eval or .json), lm-eval (results_….json), promptfoo (.json)"


def read_logs(
    paths: Sequence[Path], *, model: str | None = None, prompt: str | None = None, scorer: str | None = None
) -> tuple[EvalRun, ...]:
    """Read the runs of logs; the format of each is recognized by its content.

    Args:
        model: the application; None for the one that each log names.
        prompt: `name@version`; None for the one that each log names.
        scorer: the score to read; None for a log's first.
    """
    runs = list[EvalRun]()
    for path in paths:
        own = _read(path, scorer, is_prompt_given=prompt is not None)
        if not (model or all(run.model for run in own)):
            raise EvalLogError(
                f"{path}: does not name the application that it evaluates: import it with --model, or run the suite "
                "with the metadata `application`."
            )
        runs += own
    for option, value, names in (
        ("--model", model, {run.model for run in runs if run.model}),
        ("--prompt", prompt, {run.prompt for run in runs if run.prompt}),
    ):
        if value and len(names) > 1:
            raise EvalLogError(
                f"{', '.join(map(str, paths))}: the runs are of {', '.join(sorted(names))}, so that {option} {value} "
                "would make them one. Import each by itself, or leave the option out."
            )
    return tuple(replace(run, model=model or run.model, prompt=prompt or run.prompt) for run in runs)


def _read(path: Path, scorer: str | None, *, is_prompt_given: bool) -> tuple[EvalRun, ...]:
    if path.suffix == ".eval":
        return (read_eval_file(path, scorer),)
    value = decode_object(read_bytes(path), str(path))
    if is_inspect_log(value):
        samples = value.get("samples")
        if not isinstance(samples, list):
            raise EvalLogError(f"{path}: has no samples: was it written with --no-log-samples? Its items are needed.")
        return (read_inspect(value, samples, path, scorer),)
    if is_lm_eval_results(value):
        return read_lm_eval(value, path, scorer)
    if is_promptfoo_log(value):
        return read_promptfoo(value, path, scorer, is_prompt_given=is_prompt_given)
    raise EvalLogError(f"{path}: is not a log of a known format: {FORMATS}.")
