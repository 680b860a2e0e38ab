"""Labels as files: CSV, and the JSON of Label Studio."""

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from barograph_server.errors import CommandError
from barograph_server.evaluation.review.labelled_answers import LabelledAnswer

LabelFormat = Literal["csv", "label-studio"]

COLUMNS = ("id", "version", "reason", "probability", "reviewer", "label", "at", "note", "prompt", "answer")
_REQUIRED = COLUMNS[:6]
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
"""Spreadsheets take a text that begins with one of these for a formula, so that an answer could run one."""


def write_csv(entries: Iterable[LabelledAnswer]) -> str:
    """Return entries as CSV. Texts that a spreadsheet would take for a formula begin with an apostrophe."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for entry in entries:
        values = (entry.id, entry.version, entry.reason, f"{entry.probability!r}", entry.reviewer, entry.label)
        writer.writerow(map(_protect, (*values, _time_text(entry.at), entry.note, entry.prompt, entry.answer)))
    return buffer.getvalue()


def read_csv(text: str, path: Path) -> list[LabelledAnswer]:
    """Read entries from CSV, with columns in any order; `at`, `note`, `prompt` and `answer` may be missing."""
    # Prompts and answers are long; the default limit of a cell is 128 KiB.
    csv.field_size_limit(1 << 24)
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    try:
        missing = [name for name in _REQUIRED if name not in (reader.fieldnames or ())]
        if missing:
            raise CommandError(f"{path} has no column {', '.join(missing)}; export a file to see the format.")
        return [_csv_entry(row, f"line {reader.line_num}", path) for row in reader]
    except csv.Error as error:
        raise CommandError(f"{path} is not CSV at line {reader.reader.line_num}: {error}.") from error


def write_label_studio(entries: Sequence[LabelledAnswer]) -> str:
    """Return entries as tasks of Label Studio, one for each answer, with its labels as annotations."""
    tasks: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in entries:
        data = {"id": entry.id, "version": entry.version, "prompt": entry.prompt, "answer": entry.answer}
        task = tasks.setdefault((entry.id, entry.version), {"data": data, "annotations": []})
        if not entry.label:
            task["data"] |= {"reason": entry.reason, "probability": entry.probability}
            continue
        result = [
            _result("label", "choices", {"choices": [entry.label]}),
            _result("reviewer", "textarea", {"text": [entry.reviewer]}),
            _result("reason", "textarea", {"text": [f"{entry.reason} {entry.probability!r}"]}),
        ]
        if entry.note:
            result.append(_result("note", "textarea", {"text": [entry.note]}))
        created = {} if entry.at is None else {"created_at": _time_text(entry.at)}
        task["annotations"].append({"was_cancelled": False, **created, "result": result})
        task["data"].setdefault("reason", entry.reason)
        task["data"].setdefault("probability", entry.probability)
    return json.dumps(list(tasks.values()), ensure_ascii=False, indent=1) + "\n"


def read_label_studio(text: str, path: Path) -> tuple[list[LabelledAnswer], int]:
    """Read the annotations of a JSON export of Label Studio, and count the cancelled ones."""
    try:
        tasks = json.loads(text)
        # Half a surrogate pair is no text: no table and topic takes it.
        json.dumps(tasks, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise CommandError(f"{path} is not JSON: {error}.") from error
    if not isinstance(tasks, list):
        raise CommandError(f"{path} is not an export of Label Studio: it must be a list of tasks. Export as JSON.")
    entries: list[LabelledAnswer] = []
    cancelled = 0
    for i, task in enumerate(tasks):
        where = f"task {i + 1}"
        data = task.get("data") if isinstance(task, dict) else None
        annotations = task.get("annotations", []) if isinstance(task, dict) else None
        if not isinstance(data, dict) or not isinstance(annotations, list):
            raise CommandError(f"{path}, {where}: a task has `data` and `annotations`. Export as JSON, not JSON_MIN.")
        valid = [each for each in annotations if isinstance(each, dict) and each.get("was_cancelled") is not True]
        cancelled += len(annotations) - len(valid)
        entries += [_annotation(data, each, f"{where}, annotation {j + 1}", path) for j, each in enumerate(valid)]
        if not annotations:
            entries.append(LabelledAnswer(where, _text(data, "id"), _text(data, "version"), *_choice(data)))
    return entries, cancelled


def _csv_entry(row: dict[str | Any, str | Any], where: str, path: Path) -> LabelledAnswer:
    if None in row or None in row.values():
        raise CommandError(f"{path}, {where}: the row has more or fewer cells than the first line.")
    values = {name: _unprotect(text) for name, text in row.items()}
    return LabelledAnswer(
        where,
        values["id"],
        values["version"],
        values["reason"],
        _number(values["probability"]),
        values["reviewer"].strip(),
        values["label"].strip().lower(),
        _time(values.get("at", ""), where, path),
        values.get("note", ""),
        values.get("prompt", ""),
        values.get("answer", ""),
    )


def _annotation(data: dict[str, Any], annotation: dict[str, Any], where: str, path: Path) -> LabelledAnswer:
    results = annotation.get("result")
    values: dict[str, str] = {}
    for each in results if isinstance(results, list) else []:
        value = each.get("value") if isinstance(each, dict) else None
        texts = (value.get("choices") or value.get("text")) if isinstance(value, dict) else None
        texts = [texts] if isinstance(texts, str) else texts
        if isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts):
            # Several choices are not one of the labels, so the entry is reported.
            values[str(each.get("from_name"))] = " and ".join(texts)
    reason, probability = _choice(data)
    if "reason" in values:
        reason, _, number = values["reason"].rpartition(" ")
        probability = _number(number)
    return LabelledAnswer(
        where,
        _text(data, "id"),
        _text(data, "version"),
        reason,
        probability,
        values.get("reviewer", "").strip() or _completed_by(annotation.get("completed_by")),
        # An annotation without a choice is not an answer without a label.
        values.get("label", "").strip().lower() or "(none)",
        _time(_text(annotation, "created_at"), where, path),
        values.get("note", ""),
        _text(data, "prompt"),
        _text(data, "answer"),
    )


def _completed_by(user: Any) -> str:
    if isinstance(user, dict):
        user = user.get("email") or user.get("id")
    if isinstance(user, int) and not isinstance(user, bool):
        return f"label-studio-{user}"
    return user.strip() if isinstance(user, str) else ""


def _choice(data: dict[str, Any]) -> tuple[str, float]:
    return _text(data, "reason"), _number(str(data.get("probability", "")))


def _text(values: dict[str, Any], name: str) -> str:
    value = values.get(name, "")
    return value if isinstance(value, str) else str(value) if isinstance(value, int | float) else ""


def _result(name: str, kind: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"from_name": name, "to_name": "answer", "type": kind, "value": value}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _time(text: str, where: str, path: Path) -> datetime | None:
    if not text.strip():
        return None
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise CommandError(
            f"{path}, {where}: {text[:40]!r} is not a time; write one such as 2026-11-02T10:00:00Z, or none."
        ) from None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    # ClickHouse keeps milliseconds; a second import must find an equal time.
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def _time_text(at: datetime | None) -> str:
    return "" if at is None else at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _protect(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _unprotect(text: str) -> str:
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text
