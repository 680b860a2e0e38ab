"""Values of JSON logs, checked for their type; errors name the file and the place."""

import json
import math
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from barograph_server.errors import CommandError
from barograph_server.warehouse.evaluation.eval_runs import EvalRun

MAX_LOG_BYTES = 512 << 20
MAX_METADATA_CHARS = 200
"""Longest text of an item's metadata; longer ones are left out, as they are no slices."""
_REPEAT = "Is the file complete? Run the suite again, or export its log again."


def read_bytes(path: Path) -> bytes:
    """Read a file of at most `MAX_LOG_BYTES`."""
    try:
        size = path.stat().st_size
        if size > MAX_LOG_BYTES:
            raise EvalLogError(f"{path}: has {size:,} bytes; logs of up to {MAX_LOG_BYTES:,} bytes can be imported.")
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise EvalLogError(f"{path}: cannot be read: {reason}; give the path of a log.") from error


def decode_object(data: bytes, where: str) -> dict[str, Any]:
    """Decode a JSON object; as programs in Python write them, numbers may be NaN or infinite."""
    try:
        value = _decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise EvalLogError(f"{where}: is not JSON: {error}. {_REPEAT}") from None
    if not isinstance(value, dict):
        raise EvalLogError(f"{where}: is not a JSON object. {_REPEAT}")
    return value


def _decode(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError:
        # msgspec rejects the numbers NaN and Infinity, which Python's `json` reads and writes.
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            pass
        raise


def member(value: dict[str, Any], name: str, kind: type | tuple[type, ...], where: str) -> Any:
    """Return a member of an object."""
    content = value.get(name)
    if not isinstance(content, kind) or (isinstance(content, bool) and kind is not bool):
        reason = "is missing" if content is None else f"is {type(content).__name__}"
        raise EvalLogError(f"{where}: `{name}` {reason}. {_REPEAT}")
    return content


def optional_object(value: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    """Return a member that is an object; empty if it is missing or null."""
    return {} if value.get(name) is None else dict(member(value, name, dict, where))


def timestamp_ms(text: str, where: str) -> int:
    """Convert an ISO 8601 time with its zone to Unix ms."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise EvalLogError(f"{where}: {text[:40]!r} is not a time with a zone, such as 2026-11-29T06:15:00+00:00.")
    return int(at.timestamp() * 1000)


def checked_score(value: float, where: str) -> float:
    if not math.isfinite(value) or not 0.0 <= value <= 1.0:
        raise EvalLogError(f"{where}: the score is {value}; only scores from 0 to 1 can be imported.")
    return float(value)


def slice_values(metadata: object) -> dict[str, str]:
    """Keep the members of an item's metadata that can name a slice: numbers, flags and short texts."""
    if not isinstance(metadata, dict):
        return {}
    result = {}
    for name, value in metadata.items():
        if isinstance(value, bool):
            result[str(name)] = "true" if value else "false"
        elif isinstance(value, str | int | float) and len(str(value)) <= MAX_METADATA_CHARS:
            result[str(name)] = str(value)
    return result


class EvalLogError(CommandError):
    """A log cannot be read; the text names the file and what to do."""


TOLERANCE = 1e-9
"""Largest difference of two means of the same scores."""


def check_run(run: EvalRun, total: float, where: str, hint: str = "", *, averages_items: bool = False) -> EvalRun:
    """Return a run whose answers are distinct and whose mean is the log's.

    Args:
        total: the mean score that the log states.
        hint: a possible reason for a difference, as a sentence.
        averages_items: whether the log states the mean of the items' means, not that of all answers.
    """
    if not run.answers:
        raise EvalLogError(
            f"{where}: none of its {run.unscored:,} answers has a score of {run.scorer}, so nothing is stored. "
            "Did every call fail?"
        )
    keys = set[tuple[str, int]]()
    for answer in run.answers:
        if (answer.item, answer.epoch) in keys:
            raise EvalLogError(
                f"{where}: item {answer.item}, epoch {answer.epoch}, is there twice: give each item of the suite "
                "its own id."
            )
        keys.add((answer.item, answer.epoch))
    mean = run.mean_of_items if averages_items else run.mean
    if not math.isclose(mean, total, rel_tol=0.0, abs_tol=TOLERANCE):
        raise EvalLogError(
            f"{where}: the mean of the {len(run.answers):,} scores is {mean:.9g}, but the log states {total:.9g}. "
            f"Nothing is stored. {hint or 'Was the log changed or cut off?'}"
        )
    return run


def check_count(counted: int, stated: object, what: str, where: str) -> None:
    """Compare a count with that of the log."""
    if counted != stated:
        raise EvalLogError(
            f"{where}: has {counted:,} {what}, but the log states {stated}. Nothing is stored. Was the log changed or "
            "cut off?"
        )
