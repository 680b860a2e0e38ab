"""Evaluators by rules: a check with its documents, schema or pattern."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from barograph.contract.evaluators import Evaluator, purposes
from barograph.text.errors import TextError
from barograph.text.language import LanguageDetector

from barograph_server.streams.evaluator.answer import Answer
from barograph_server.streams.evaluator.checks.citations import CitationStatus, check_answer_citations
from barograph_server.streams.evaluator.checks.documents import DocumentSet
from barograph_server.streams.evaluator.checks.errors import AnswerCheckError
from barograph_server.streams.evaluator.checks.format_checks import check_json, check_language, check_pattern
from barograph_server.streams.evaluator.checks.grounding import GroundingContext, measure_grounding
from barograph_server.streams.evaluator.checks.json_schema import AnswerPattern, AnswerSchema
from barograph_server.streams.evaluator.checks.personal_data import check_personal_data
from barograph_server.streams.evaluator.checks.refusals import check_refusal
from barograph_server.streams.evaluator.evaluation import Evaluation, NoResult, failed

RULES_VERSION = 1
"""Part of every version: raise it when a check decides differently."""
MAX_FILE_BYTES = 8 << 20
DOCUMENT_ENDINGS = (".md", ".txt")

Check = Callable[[Answer], Evaluation]


class SetupError(ValueError):
    """An evaluator cannot be used; the message says why, and what to do."""


def build_check(evaluator: Evaluator, folder: Path, languages: Sequence[str] = ()) -> tuple[Check, str]:
    """Build a check for texts in the expected languages (none: any), with its version: 12 hexadecimal digits."""
    digest = hashlib.sha256()
    own = [
        name
        for name, purpose in purposes().items()
        if evaluator.check in (*purpose.needed, *purpose.allowed) and not purpose.by_content
    ]
    decisive = {name: getattr(evaluator, name) for name in ("check", *own)}
    digest.update(msgspec.json.encode([RULES_VERSION, decisive, list(languages)]))
    try:
        check = _check(evaluator, folder, languages, digest.update)
    except (AnswerCheckError, TextError) as error:
        raise SetupError(f"the check {evaluator.check} cannot be set up: {error}") from error

    def evaluate(answer: Answer) -> Evaluation:
        if answer.is_cut:
            return failed(NoResult.ANSWER_CUT)
        try:
            return check(answer)
        except AnswerCheckError:
            return failed(NoResult.TOO_LONG)

    return evaluate, digest.hexdigest()[:12]


def _check(
    evaluator: Evaluator, folder: Path, languages: Sequence[str], hash_bytes: Callable[[bytes], object]
) -> Check:
    match evaluator.check:
        case "citations":
            return _citations(DocumentSet(read_documents(folder / evaluator.documents, hash_bytes)))
        case "grounding":
            context = GroundingContext(read_documents(folder / evaluator.documents, hash_bytes).values())
            at_least = evaluator.at_least or 0.0
            return lambda answer: _grounding(answer, context, at_least)
        case "json":
            schema = _schema(folder / evaluator.schema, hash_bytes)
            return lambda answer: Evaluation(not check_json(answer.text, schema).is_valid)
        case "pattern":
            pattern = AnswerPattern(evaluator.pattern)
            return lambda answer: Evaluation(not check_pattern(answer.text, pattern).is_valid)
        case "refusal":
            return lambda answer: Evaluation(check_refusal(answer.text).is_refusal)
        case "personal-data":
            known = read_documents(folder / evaluator.documents, hash_bytes).values() if evaluator.documents else ()
            return lambda answer: _personal_data(answer, list(known))
        case "language":
            detector = LanguageDetector(languages)
            return lambda answer: _language(answer, detector)
    raise SetupError(f"the check {evaluator.check!r} is unknown to this release")


def _citations(documents: DocumentSet) -> Check:
    def evaluate(answer: Answer) -> Evaluation:
        report = check_answer_citations(answer.text, documents)
        if report.omitted or report.unread_chars:
            return failed(NoResult.TOO_LONG)
        supported = report.count(CitationStatus.SUPPORTED)
        score = supported / len(report.results) if report.results else None
        counts = {f"claims_{status.replace('-', '_')}": float(report.count(status)) for status in CitationStatus}
        return Evaluation(supported < len(report.results), score, counts)

    return evaluate


def _grounding(answer: Answer, context: GroundingContext, at_least: float) -> Evaluation:
    result = measure_grounding(answer.text, context)
    if result.unread_chars:
        return failed(NoResult.TOO_LONG)
    return Evaluation(None if result.value is None else result.value < at_least, result.value)


def _personal_data(answer: Answer, documents: list[str]) -> Evaluation:
    if answer.question is None:
        return failed(NoResult.NO_QUESTION)
    result = check_personal_data(answer.text, [answer.question, *documents])
    return failed(NoResult.TOO_LONG) if result.unread_chars else Evaluation(bool(result.leaked))


def _language(answer: Answer, detector: LanguageDetector) -> Evaluation:
    if answer.question is None:
        return failed(NoResult.NO_QUESTION)
    return Evaluation(check_language(answer.question, answer.text, detector).is_mismatch)


def _schema(path: Path, hash_bytes: Callable[[bytes], object]) -> AnswerSchema:
    data = read_file(path)
    hash_bytes(data)
    try:
        return AnswerSchema(json.loads(data))
    except (ValueError, RecursionError) as error:
        raise SetupError(f"the schema {path} is not JSON: {error}") from error


def read_file(path: Path) -> bytes:
    """Read a file of an evaluator."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SetupError(f"{path} cannot be read: {reason}; check evaluator.folder and the contract") from error
    if len(data) > MAX_FILE_BYTES:
        raise SetupError(f"{path} has more than {MAX_FILE_BYTES:,} bytes; divide it")
    return data


def read_documents(folder: Path, hash_bytes: Callable[[bytes], object]) -> dict[str, str]:
    """Read the documents of a folder; their ids are the names of the files without ending."""
    documents: dict[str, str] = {}
    for path in document_files(folder):
        data = read_file(path)
        hash_bytes(os.fsencode(path.stem) + f"\0{len(data)}\0".encode())
        hash_bytes(data)
        if path.stem in documents:
            raise SetupError(f"{folder} has two documents {path.stem}; rename one")
        try:
            documents[path.stem] = data.decode()
        except UnicodeDecodeError as error:
            raise SetupError(f"{path} is not UTF-8: {error.reason}; convert it") from error
    if not documents:
        raise SetupError(f"{folder} has no documents; put files {' and '.join(DOCUMENT_ENDINGS)} there")
    return documents


def document_files(folder: Path) -> list[Path]:
    """List the documents of a folder, sorted."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix in DOCUMENT_ENDINGS and path.is_file())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SetupError(f"{folder} cannot be read: {reason}; check evaluator.folder and the contract") from error
