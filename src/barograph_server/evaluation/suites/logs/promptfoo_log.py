"""Results of promptfoo, version 3 of its format: the JSON file that `promptfoo eval --output` writes.

A file holds a run for each prompt and provider. An item is named by the description of its test, otherwise by a hash
of its variables; with `--repeat` it occurs several times. promptfoo has no version of a suite, so it is a hash of the
tests.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from barograph_server.evaluation.suites.logs.json_values import (
    EvalLogError,
    check_count,
    check_run,
    checked_score,
    member,
    optional_object,
    slice_values,
    timestamp_ms,
)
from barograph_server.warehouse.evaluation.eval_runs import EvalItem, EvalRun

FORMAT = "promptfoo"
LOG_VERSION = 3
SCORER = "score"
FAILED_CALL = 2
"""Value of `failureReason` if there is no answer to score."""
_PROMPT_ID = re.compile(r"[^\s@]+@\d+")


def is_promptfoo_log(value: dict[str, Any]) -> bool:
    """Whether a JSON object is a file of results of promptfoo."""
    return isinstance(value.get("results"), dict) and "evalId" in value


def read_promptfoo(
    log: dict[str, Any], path: Path, scorer: str | None, *, is_prompt_given: bool
) -> tuple[EvalRun, ...]:
    """Read the run of each prompt and provider.

    Args:
        scorer: None, or `score`, the only one.
        is_prompt_given: whether the prompt is named by the user, so that the log must have one only.
    """
    where = str(path)
    if scorer not in (None, SCORER):
        raise EvalLogError(f"{where}: logs of promptfoo have one score, {SCORER}, not {scorer}: omit --scorer.")
    results = member(log, "results", dict, where)
    if results.get("version") != LOG_VERSION:
        raise EvalLogError(f"{where}: is a log of version {results.get('version')}; version {LOG_VERSION} can be read.")
    suite = optional_object(log, "config", where).get("description")
    if not isinstance(suite, str) or not suite:
        raise EvalLogError(f"{where}: names no suite: add `description` to the configuration of promptfoo.")
    prompts = member(results, "prompts", list, where)
    rows = member(results, "results", list, where)
    labels = {str(prompt.get("label")) for prompt in prompts if isinstance(prompt, dict)}
    if is_prompt_given and len(labels) > 1:
        raise EvalLogError(
            f"{where}: has {len(labels)} prompts, so that --prompt would make them one. Give each the label "
            "NAME@VERSION and omit --prompt, or run promptfoo for each."
        )
    runs = []
    for index, prompt in enumerate(prompts):
        own = [row for row in rows if isinstance(row, dict) and row.get("promptIdx") == index]
        run, total = _read_prompt(own, prompt, index, log, suite, where)
        runs.append(check_run(run, total, f"{where}, prompt {index}"))
    check_count(len(rows), sum(len(run.answers) + run.unscored for run in runs), "answers", where)
    return tuple(runs)


def _read_prompt(
    rows: Sequence[dict[str, Any]], prompt: Any, index: int, log: dict[str, Any], suite: str, where: str
) -> tuple[EvalRun, float]:
    """Return the run of one prompt, and the mean that the log states."""
    location = f"{where}, prompt {index}"
    if not isinstance(prompt, dict):
        raise EvalLogError(f"{location}: is not an object.")
    metrics = member(prompt, "metrics", dict, location)
    answers, unscored = list[EvalItem](), 0
    tests: dict[str, bytes] = {}
    epochs: dict[str, int] = {}
    for i, row in enumerate(rows):
        at = f"{location}, answer {i}"
        test = member(row, "testCase", dict, at)
        content = msgspec.json.encode([test.get("vars"), test.get("assert")], order="deterministic")
        item = str(test.get("description") or hashlib.sha256(content).hexdigest()[:12])
        if tests.setdefault(item, content) != content:
            raise EvalLogError(f"{at}: another test has the description {item} too: give each test its own.")
        epochs[item] = epochs.get(item, 0) + 1
        if row.get("failureReason") == FAILED_CALL:
            unscored += 1
            continue
        score = checked_score(float(member(row, "score", (int, float), at)), at)
        passes = member(row, "success", bool, at)
        answers.append(EvalItem(item, epochs[item], score, passes, slice_values(test.get("metadata"))))
    label = str(prompt.get("label", ""))
    run = EvalRun(
        model="",
        suite=suite,
        suite_version=hashlib.sha256(b"\n".join(tests[item] for item in sorted(tests))).hexdigest()[:12],
        run_id=f"{member(log, 'evalId', str, where)}/{index}",
        version=str(prompt.get("provider", "")),
        prompt=label if _PROMPT_ID.fullmatch(label) else "",
        format=FORMAT,
        scorer=SCORER,
        started_at_ms=timestamp_ms(member(log["results"], "timestamp", str, where), where),
        answers=tuple(answers),
        unscored=unscored,
    )
    check_count(unscored, metrics.get("testErrorCount"), "failed calls", location)
    stated = sum(int(member(metrics, name, int, location)) for name in ("testPassCount", "testFailCount"))
    check_count(len(answers), stated, "scores", location)
    return run, float(member(metrics, "score", (int, float), location)) / max(stated, 1)
