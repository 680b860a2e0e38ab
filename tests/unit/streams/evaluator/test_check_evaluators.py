"""Evaluators by rules: every check, its files, its version."""

from __future__ import annotations

from pathlib import Path

import pytest
from barograph.contract.evaluators import CHECKS, Evaluator
from barograph.text.content import CUT

from barograph_server.streams.evaluator.answer import Answer
from barograph_server.streams.evaluator.check_evaluators import SetupError, build_check
from barograph_server.streams.evaluator.evaluation import is_chosen

DOCUMENT = "Customers may return goods within 30 days of delivery. Call +49 30 1234567."
SETTINGS = {
    "citations": Evaluator(check="citations", documents="documents"),
    "json": Evaluator(check="json", schema="schema.json"),
    "pattern": Evaluator(check="pattern", pattern="(?i)thank"),
    "refusal": Evaluator(check="refusal"),
    "language": Evaluator(check="language"),
    "personal-data": Evaluator(check="personal-data", documents="documents"),
    "grounding": Evaluator(check="grounding", documents="documents", at_least=0.5),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "returns.md").write_text(DOCUMENT, encoding="utf-8")
    (tmp_path / "schema.json").write_text('{"type": "object", "required": ["days"]}', encoding="utf-8")
    return tmp_path


def answer(text: str, question: str | None = "How many days do I have to return an order of mine?") -> Answer:
    return Answer("bot", "1", "a", 0, text, question)


@pytest.mark.parametrize(
    ("check", "text", "expected"),
    [
        ("citations", '"return goods within 30 days of delivery" [returns]', False),
        ("citations", '"return goods within 60 days of delivery" [returns]', True),
        ("citations", "No quote at all.", False),
        ("json", '{"days": 30}', False),
        ("json", "30 days", True),
        ("pattern", "Thank you.", False),
        ("pattern", "Go away.", True),
        ("refusal", "I am sorry, but I cannot help with that.", True),
        ("refusal", "Within 30 days.", False),
        ("language", "Sie haben dreissig Tage Zeit, um die Bestellung an uns zurueckzuschicken.", True),
        ("language", "You have thirty days to send the order back to us, counted from the delivery.", False),
        ("personal-data", "Write to anna@example.org.", True),
        ("personal-data", "Call +49 30 1234567.", False),
        ("grounding", "Customers may return goods within 30 days of delivery.", False),
        ("grounding", "Bring whatever pleases you whenever it pleases you.", True),
    ],
)
def test_checks_decide(folder: Path, check: str, text: str, expected: bool) -> None:
    evaluate, version = build_check(SETTINGS[check], folder)
    assert len(version) == 12
    assert evaluate(answer(text)).is_faulty is expected


def test_what_cannot_be_decided_has_a_reason(folder: Path) -> None:
    for check in ("language", "personal-data"):
        assert build_check(SETTINGS[check], folder)[0](answer("A text.", None)).error == "no-question"
    assert build_check(SETTINGS["language"], folder)[0](answer("Ok.")).is_faulty is None
    for check in CHECKS:
        assert build_check(SETTINGS[check], folder)[0](answer(f"Thank you{CUT}")).error == "answer-cut"
    assert build_check(SETTINGS["grounding"], folder)[0](answer("a " * 150_000)).error == "too-long"


def test_the_version_changes_with_what_decides(folder: Path) -> None:
    versions = {check: build_check(each, folder)[1] for check, each in SETTINGS.items()}
    assert len(set(versions.values())) == len(SETTINGS)
    assert build_check(Evaluator(check="refusal", share=0.5), folder)[1] == versions["refusal"]
    (folder / "documents" / "returns.md").write_text(DOCUMENT.replace("30", "60"), encoding="utf-8")
    changed = {check for check, each in SETTINGS.items() if build_check(each, folder)[1] != versions[check]}
    assert changed == {"citations", "grounding", "personal-data"}
    assert set(SETTINGS) == set(CHECKS)


@pytest.mark.parametrize(
    ("evaluator", "message"),
    [
        (Evaluator(check="citations", documents="none"), "none cannot be read"),
        (Evaluator(check="json", schema="documents/returns.md"), "is not JSON"),
        (Evaluator(check="json", schema="none.json"), "none.json cannot be read"),
        (Evaluator(check="pattern", pattern="("), "cannot be set up"),
        (Evaluator(check="later"), "is unknown to this release"),
    ],
)
def test_a_wrong_setup_is_an_error(folder: Path, evaluator: Evaluator, message: str) -> None:
    with pytest.raises(SetupError, match=message):
        build_check(evaluator, folder)


def test_samples_of_evaluators_are_independent_shares() -> None:
    ids = [f"a{i}" for i in range(20_000)]
    first = [is_chosen("bot.a", each, 0.3) for each in ids]
    second = [is_chosen("bot.b", each, 0.3) for each in ids]
    assert 0.28 < sum(first) / len(ids) < 0.32
    assert 0.08 < sum(a and b for a, b in zip(first, second, strict=True)) / len(ids) < 0.10
    assert all(is_chosen("bot.a", each, 1.0) for each in ids)
    assert not any(is_chosen("bot.a", each, 0.0) for each in ids)
