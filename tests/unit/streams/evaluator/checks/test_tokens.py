"""Numbers, dates, times and units have one form, however they are written."""

from __future__ import annotations

import pytest

from barograph_server.streams.evaluator.checks.tokens import TokenClass, tokenize


def keys(text: str) -> list[str]:
    return [token.key for token in tokenize(text)]


SPELLINGS = {
    "1000": ("1000", "1,000", "1.000", "1 000", "1\u202f000", "1'000", "1’000", "１０００", "1,000.00"),
    "t17:00": ("17:00", "5 pm", "5 p.m.", "5:00 PM"),
    "5 eur": ("€5", "5 €", "5 EUR", "EUR 5", "5 euros", "€ 5.00"),
    "20 percent": ("20%", "20 percent", "20 per cent"),
    "30 day": ("30 days", "30 day", "30-day", "thirty days"),
    "2 kilogram": ("2 kg", "2kg", "2 kilograms"),
    "can not": ("cannot", "can't"),
}


def test_spellings() -> None:
    for expected, texts in SPELLINGS.items():
        assert {text: keys(text) for text in texts} == dict.fromkeys(texts, expected.split())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4,90", "4.9"),
        ("0,250", "0.25"),
        ("1.2.3", "1.2.3"),
        ("−5", "-5"),
        ("10-20", "10 20"),
        ("twenty-four", "24"),
        ("٣٠", "30"),
        ("m g 5 m", "m g 5 metre"),
        ("up to 5 may be returned", "up to 5 may be returned"),
        ("won’t", "will not"),
        ("cafe\u0301", "café"),
        ("हिन्दी", "हिन्दी"),
        ("期限三十", "期 限 三 十"),
        ("\u202eabc\u202c\x00def", "abc def"),
        ("", ""),
    ],
)
def test_numbers_units_and_words(text: str, expected: str) -> None:
    assert keys(text) == expected.split()


def test_a_point_before_three_digits_has_two_readings() -> None:
    (token,) = tokenize("1.250")
    assert {token.key, *token.readings} == {"1250", "1.25"}
    assert token.same_value(tokenize("1.25")[0])
    assert token.same_value(tokenize("1,250")[0])
    assert not tokenize("1,250")[0].same_value(tokenize("1.25")[0])


DAYS = ("5 March 2026", "5th of March 2026", "March 5, 2026", "March 5th, 2026", "5 Mar 2026", "5. March 2026")
MORE_DAYS = ("2026-03-05", "05.03.2026", "5 MARCH 2026", "5 march 2026", "5  March\n2026", "05/03/2026")


def test_spellings_of_a_day() -> None:
    for text in DAYS + MORE_DAYS:
        assert [(token.key, token.kind) for token in tokenize(text)] == [("2026-03-05", TokenClass.DATE)], text
    for month in ("January", "June", "July", "September", "Sept", "May"):
        assert tokenize(f"3 {month} 2026")[0].kind is TokenClass.DATE, month
    for text in ("40 March 2026", "2026-13-01", "32.01.2026"):
        assert TokenClass.DATE not in {token.kind for token in tokenize(text)}, text


def test_a_day_with_slashes_has_two_readings_and_may_leave_out_its_year() -> None:
    (token,) = tokenize("05/03/2026")
    assert token.same_value(tokenize("5 March 2026")[0])
    assert token.same_value(tokenize("3 May 2026")[0])
    assert keys("25/03/2026") == keys("3/25/2026") == ["2026-03-25"]
    march, next_year, other = (tokenize(text)[0] for text in ("5 March", "5 March 2027", "6 March 2027"))
    assert march.same_value(next_year)
    assert next_year.same_value(march)
    assert not march.same_value(other)
    assert not next_year.same_value(tokenize("5 March 2026")[0])
