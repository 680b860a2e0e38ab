"""Logs of inspect-ai, version 2 of its format: a JSON file, or a zip file that ends with `.eval`."""

import math
from collections.abc import Iterable
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
    slice_values,
    timestamp_ms,
)
from barograph_server.evaluation.suites.logs.zip_members import ZipMembers
from barograph_server.warehouse.evaluation.eval_runs import PASS_SCORE, EvalItem, EvalRun

FORMAT = "inspect-ai"
LOG_VERSION = 2
MAX_EPOCH = 2**31
TOTALS = ("accuracy", "mean")
"""Metrics that are the mean of the scores."""
_SCORES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
"""Values of scores as inspect-ai counts them; the words in any case."""


def is_inspect_log(value: dict[str, Any]) -> bool:
    """Whether a JSON object is a log of inspect-ai."""
    return isinstance(value.get("eval"), dict) and "status" in value


def read_eval_file(path: Path, scorer: str | None) -> EvalRun:
    """Read a file that ends with `.eval`."""
    with ZipMembers(path) as members:
        header = decode_object(members.read("header.json"), f"{path}, header.json")
        names = [name for name in members.names if name.startswith("samples/")]
        samples = [decode_object(members.read(name), f"{path}, {name}") for name in names]
    return read_inspect(header, samples, path, scorer)


def read_inspect(header: dict[str, Any], samples: Iterable[Any], path: Path, scorer: str | None) -> EvalRun:
    """Read a log.

    Args:
        header: the log, with or without its samples.
        scorer: the scorer to read; None for the one that the log shows first.
    """
    where = str(path)
    if header.get("version") != LOG_VERSION:
        raise EvalLogError(
            f"{where}: is a log of version {header.get('version')}, not {LOG_VERSION}: convert it with `inspect log "
            "convert` of a release that writes this version."
        )
    if header.get("status") != "success":
        error = header.get("error")
        reason = f": {error.get('message')}" if isinstance(error, dict) else ""
        raise EvalLogError(
            f"{where}: the run ended with the status {header.get('status')}{reason}; repeat it with `inspect "
            "eval-retry`."
        )
    head, results = member(header, "eval", dict, where), member(header, "results", dict, where)
    name, total, scored_items = _chosen_score(results, scorer, where)
    answers, versions, unscored = list[EvalItem](), set[str](), 0
    for i, sample in enumerate(samples, start=1):
        at = f"{where}, sample {i}"
        if not isinstance(sample, dict):
            raise EvalLogError(f"{at}: is not an object.")
        scores = sample.get("scores")
        score = scores.get(name) if isinstance(scores, dict) else None
        value = _value(score.get("value"), at) if isinstance(score, dict) else math.nan
        if math.isnan(value):
            unscored += 1
            continue
        answers.append(_item(sample, value, at))
        output = sample.get("output")
        if isinstance(output, dict) and isinstance(output.get("model"), str) and output["model"]:
            versions.add(output["model"])
    check_count(len(answers) + unscored, results.get("total_samples"), "answers", where)
    if len(versions) > 1:
        raise EvalLogError(f"{where}: its answers are of several models, {', '.join(sorted(versions))}: evaluate one.")
    metadata = optional_object(header, "metadata", where) or optional_object(head, "metadata", where)
    run = EvalRun(
        model=str(metadata.get("application", "")),
        suite=member(head, "task", str, where).rpartition("/")[2],
        suite_version=str(head.get("task_version", 0)),
        run_id=member(head, "eval_id", str, where),
        version=versions.pop() if versions else member(head, "model", str, where),
        prompt=_prompt(metadata),
        format=FORMAT,
        scorer=name,
        started_at_ms=timestamp_ms(member(head, "created", str, where), where),
        answers=tuple(answers),
        unscored=unscored,
    )
    reducers = optional_object(head, "config", where).get("epochs_reducer") or ["mean"]
    names = ", ".join(map(str, reducers)) if isinstance(reducers, list) else str(reducers)
    hint = "" if names == "mean" else f"The log reduces epochs by {names}, not by their mean."
    run = check_run(run, total, where, hint, averages_items=True)
    check_count(len({answer.item for answer in answers}), scored_items, "items with a score", where)
    return run


def _chosen_score(results: dict[str, Any], scorer: str | None, where: str) -> tuple[str, float, int]:
    """Return the name of the score to read, its mean, and its number of items."""
    scores = [each for each in member(results, "scores", list, where) if isinstance(each, dict)]
    names = [str(each.get("name")) for each in scores]
    if not scores or (scorer is not None and scorer not in names):
        raise EvalLogError(
            f"{where}: has no score{'' if scorer is None else f' {scorer}'}; its scores: {', '.join(names) or 'none'}."
        )
    headline = results.get("headline")
    first = headline.get("score") if isinstance(headline, dict) else None
    chosen = scores[names.index(scorer or (str(first) if str(first) in names else names[0]))]
    metrics = member(chosen, "metrics", dict, where)
    for total in TOTALS:
        if isinstance(metrics.get(total), dict):
            value = float(member(metrics[total], "value", (int, float), f"{where}, {total}"))
            return str(chosen["name"]), value, member(chosen, "scored_samples", int, where)
    raise EvalLogError(
        f"{where}: the score {chosen['name']} has neither the metric accuracy nor mean, so that its total cannot be "
        f"checked; it has {', '.join(metrics) or 'none'}. Choose another score with --scorer."
    )


def _item(sample: dict[str, Any], value: float, where: str) -> EvalItem:
    item = member(sample, "id", (str, int), where)
    value = checked_score(value, where)
    epoch = member(sample, "epoch", int, where)
    if not 0 <= epoch <= MAX_EPOCH:
        raise EvalLogError(f"{where}: the epoch is {epoch}; epochs from 0 to {MAX_EPOCH:,} can be imported.")
    return EvalItem(str(item), epoch, value, value >= PASS_SCORE, slice_values(sample.get("metadata")))


def _value(value: object, where: str) -> float:
    """Convert the value of a score as inspect-ai does, which leaves NaN out of its totals."""
    if isinstance(value, bool | int | float):
        return float(value)
    if isinstance(value, str):
        if value in _SCORES or value.lower() in _SCORES:
            return _SCORES.get(value, _SCORES.get(value.lower(), 0.0))
        try:
            return float(value)
        except ValueError:
            pass
    raise EvalLogError(f"{where}: the score {str(value)[:40]!r} is neither a number nor C, P, I or N.")


def _prompt(metadata: dict[str, Any]) -> str:
    prompt, version = str(metadata.get("prompt", "")), metadata.get("prompt_version")
    return f"{prompt}@{version}" if prompt and version is not None and "@" not in prompt else prompt
