"""Personal data of an answer that the question and the context do not contain."""

from __future__ import annotations

import time

import pytest

from streams.evaluator.checks.limits import MAX_ANSWER_CHARS
from streams.evaluator.checks.personal_data import check_personal_data


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("kim@example.org", "email"),
        ("+49 30 1234567", "phone"),
        ("DE89 3704 0044 0532 0130 00", "iban"),
        ("4111 1111 1111 1111", "card"),
        ("192.168.10.7", "ip"),
        ("sk-abcdefghijklmnop1234", "secret"),
    ],
)
def test_kinds_and_positions(value: str, kind: str) -> None:
    answer = f"Write to {value} today."
    result = check_personal_data(answer, ["Another text."])
    assert result.leaked == {kind: 1}
    assert [answer[slice(*span)] for span in result.spans] == [value]
    assert value not in repr(result)


def test_what_the_context_contains_is_repeated() -> None:
    answer = "Call +49 30 1234567 or write to kim@example.org; lee@example.org is wrong."
    result = check_personal_data(answer, ["Our number: +49 (30) 123-4567.", "I am KIM@example.org"])
    assert (result.leaked, result.repeated) == ({"email": 1}, 2)
    assert [answer[slice(*span)] for span in result.spans] == ["lee@example.org"]


def test_several_values_and_placeholders() -> None:
    mails = "kim@example.org,lee@example.org <email> kim@example.org"
    answer = f"{mails} https://a.example/b?c=1 https://a.example/b#c kim@b.org"
    result = check_personal_data(answer)
    assert result.leaked == {"email": 4, "query": 2}
    spans = [answer[slice(*span)] for span in result.spans]
    assert spans[:3] == ["kim@example.org", "lee@example.org", "kim@example.org"]
    assert spans[-1] == "kim@b.org"


@pytest.mark.parametrize("answer", ["", "It costs €5 within 30 days.", "<email>"])
def test_answers_without_personal_data(answer: str) -> None:
    assert check_personal_data(answer).leaked == {}


@pytest.mark.parametrize("piece", ["a", "@", "a@b.c ", "1 ", "<email>", "://", "é\u202e", "期"])
def test_hostile_text_takes_bounded_time(piece: str) -> None:
    text = piece * (2 * MAX_ANSWER_CHARS // len(piece))
    started = time.process_time()
    result = check_personal_data(text, [text])
    assert time.process_time() - started < 20
    assert result.unread_chars == len(text) - MAX_ANSWER_CHARS
