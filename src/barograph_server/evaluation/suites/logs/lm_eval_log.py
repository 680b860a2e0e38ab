"""Results of lm-evaluation-harness: `results_TIME.json`, with a file `samples_TASK_TIME.jsonl` beside it for each task.

lm-eval writes the samples only with `--log_samples`. It gives items a number; an item whose data has an `id` keeps it.
"""

import hashlib
from pathlib import Path
from typing import Any

from barograph_server.evaluation.suites.logs.json_values import (
    EvalLogError,
    check_count,
    check_run,
    checked_score,
    decode_object,
    member,
    optional_object,
    read_bytes,
)
from barograph_server.warehouse.evaluation.eval_runs import PASS_SCORE, EvalItem, EvalRun

FORMAT = "lm-eval"
_PREFIX = "results_"


def is_lm_eval_results(value: dict[str, Any]) -> bool:
    """Whether a JSON object is a file of results of lm-eval."""
    return isinstance(value.get("results"), dict) and "lm_eval_version" in value


def read_lm_eval(results: dict[str, Any], path: Path, scorer: str | None) -> tuple[EvalRun, ...]:
    """Read the run of each task.

    Args:
        scorer: metric and filter, such as `acc,none`; None for the first of each task.
    """
    tasks = member(results, "results", dict, str(path))
    # Groups of tasks have results, but no samples of their own.
    names = [name for name in tasks if name in optional_object(results, "configs", str(path))]
    if not names:
        raise EvalLogError(f"{path}: has no task.")
    return tuple(_read_task(results, name, path, scorer) for name in names)


def _read_task(results: dict[str, Any], task: str, path: Path, scorer: str | None) -> EvalRun:
    where = f"{path}, task {task}"
    values = member(results["results"], task, dict, where)
    metrics = [name for name in values if "," in name and "_stderr," not in name]
    chosen = scorer or (metrics[0] if metrics else "")
    if chosen not in metrics:
        raise EvalLogError(f"{where}: has no metric {chosen or 'at all'}; its metrics: {', '.join(metrics) or 'none'}.")
    metric, _, filter_ = chosen.partition(",")
    if "/" in task or "\0" in task:
        raise EvalLogError(f"{where}: no file of samples can have this name: rename the task without slashes.")
    samples_path = path.with_name(f"samples_{task}_{path.stem.removeprefix(_PREFIX)}.jsonl")
    if not samples_path.exists():
        raise EvalLogError(
            f"{where}: the samples are missing: {samples_path.name} is not beside it. Run lm-eval with --log_samples."
        )
    data = read_bytes(samples_path)
    answers, unscored = list[EvalItem](), 0
    for number, line in enumerate(data.splitlines(), start=1):
        at = f"{samples_path}, line {number}"
        sample = decode_object(line, at)
        if sample.get("filter") != filter_:
            continue
        value = sample.get(metric)
        if not isinstance(value, int | float):
            unscored += 1
            continue
        score = checked_score(float(value), at)
        answers.append(EvalItem(_item_id(sample, at), 1, score, score >= PASS_SCORE, {}))
    version = str(optional_object(results, "versions", str(path)).get(task, ""))
    run = EvalRun(
        model="",
        suite=task,
        suite_version=version,
        run_id=hashlib.sha256(f"{task}\n{results.get('date')}\n".encode() + data).hexdigest()[:32],
        version=member(results, "model_name", str, str(path)),
        prompt="",
        format=FORMAT,
        scorer=chosen,
        started_at_ms=int(member(results, "date", (int, float), str(path)) * 1000),
        answers=tuple(answers),
        unscored=unscored,
    )
    check_count(len(answers) + unscored, values.get("sample_len"), "answers", where)
    hint = "Is the aggregation of the metric another than the mean?"
    return check_run(run, float(member(values, chosen, (int, float), where)), where, hint)


def _item_id(sample: dict[str, Any], where: str) -> str:
    document = sample.get("doc")
    own = document.get("id") if isinstance(document, dict) else None
    return str(own) if isinstance(own, str | int) else str(member(sample, "doc_id", int, where))
