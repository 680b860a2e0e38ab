"""Words and values of a text. Numbers, dates, times and units have one form, however they are written."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import NamedTuple

from barograph_server.streams.evaluator.checks import vocabulary
from barograph_server.streams.evaluator.checks.plain_text import MARKS, PlainText


class TokenClass(StrEnum):
    """What a token is."""

    WORD = "word"
    NUMBER = "number"
    UNIT = "unit"
    DATE = "date"
    """A day, or a time of day."""


class TextToken(NamedTuple):
    """A word or a value of a text."""

    key: str
    """One form of all spellings: lower case, `1000` for `1,000`, `2026-03-05`, `t17:00`, `day` for `days`."""
    kind: TokenClass
    start: int
    """Position of the first character in the original text."""
    end: int
    """Position after the last character in the original text."""
    readings: tuple[str, ...] = ()
    """Other keys that the spelling allows: `1.000` is 1000 or 1, `05/03/2026` is a day of March or May."""

    def same_value(self, other: TextToken) -> bool:
        """Return whether one reading of the token equals one of the other. A date may leave out its year."""
        if self.kind is other.kind is TokenClass.DATE and "-" in (self.key[0], other.key[0]):
            return self.key[-6:] == other.key[-6:]
        return not {self.key, *self.readings}.isdisjoint((other.key, *other.readings))


def tokenize(text: str) -> list[TextToken]:
    """Return the words and values of a text in their order, in time in proportion to its length.

    A word of more than 64 characters, and a number of more than 40 digits, are several tokens.
    """
    plain = PlainText(text)
    tokens: list[TextToken] = []
    for match in _TOKEN.finditer(plain.text):
        span = plain.span(match.start(), match.end())
        tokens += _READERS[str(match.lastgroup)](match, span)
    return list(_with_units(tokens))


_NO_SPACES = "\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
"""Scripts without spaces between words; each of their characters is a token."""
_MONTH = "(?:" + "|".join(sorted(vocabulary.MONTHS, key=len, reverse=True)) + ")"
# In lower case `may` is a verb, unless a year follows.
_NOT_VERB = r"(?!(?-i:may)(?!,?\s{1,3}\d{4}))"
_NOT_VERB_BEFORE_DAY = r"(?!(?-i:may)\s{1,3}\d{1,2}(?:st|nd|rd|th)?(?!,?\s{1,3}\d{4}))"
_TOKEN = re.compile(
    rf"""
    (?P<iso>(?<![\d-])\d{{4}}-\d{{1,2}}-\d{{1,2}}(?![\d-]))
    |(?P<numeric>(?<![\d./])\d{{1,2}}([./])\d{{1,2}}\3\d{{4}}(?!\d))
    |(?P<day_month>(?<!\d)\d{{1,2}}(?:st|nd|rd|th|\.)?\s{{1,3}}(?:of\s{{1,3}})?{_NOT_VERB}{_MONTH}\b\.?(?:,?\s{{1,3}}\d{{4}}(?!\d))?)
    |(?P<month_day>\b{_NOT_VERB_BEFORE_DAY}{_MONTH}\.?\s{{1,3}}\d{{1,2}}(?:st|nd|rd|th)?(?![\d:])(?:,?\s{{1,3}}\d{{4}}(?!\d))?)
    |(?P<clock>(?<![\d:])\d{{1,2}}:\d{{2}}(?![\d:])(?:\s?[ap]\.?m\b\.?)?|(?<!\d)\d{{1,2}}\s?[ap]\.?m\b\.?)
    |(?P<number>(?:(?<![\w)])-(?=\d))?(?:
        \d{{1,3}}(?:([,.' ])\d{{3}}(?:\8\d{{3}}){{0,9}})(?!\d)(?:[.,]\d{{1,9}})?
        |\d{{1,40}}(?:\.\d{{1,40}}){{2,9}}
        |\d{{1,40}}(?:[.,]\d{{1,40}})?
      )(?:(?:st|nd|rd|th)\b)?)
    |(?P<symbol>[€$£¥%]|°c?)
    |(?P<character>[{_NO_SPACES}])
    |(?P<word>(?:[^\W\d{_NO_SPACES}_]|[{MARKS}])(?:[^\W{_NO_SPACES}_]|[{MARKS}]|'(?=[^\W\d_])){{0,63}})
    """,
    re.VERBOSE | re.IGNORECASE,
)
Pair = tuple[int, int]


def _iso(match: re.Match[str], span: Pair) -> list[TextToken]:
    year, month, day = map(int, match[0].split("-"))
    if not _is_day(day, month):
        return [_token(part, TokenClass.NUMBER, span) for part in match[0].split("-")]
    return [_token(f"{year:04}-{month:02}-{day:02}", TokenClass.DATE, span)]


def _numeric(match: re.Match[str], span: Pair) -> list[TextToken]:
    first, second, year = map(int, re.split(r"[./]", match[0]))
    readings = [f"{year:04}-{month:02}-{day:02}" for day, month in ((first, second), (second, first))]
    valid = [key for key, (day, month) in zip(readings, ((first, second), (second, first)), strict=True)
             if _is_day(day, month)]  # fmt: skip
    if "." in match[0]:
        valid = valid[:1]
    if not valid:
        return [_token(part, TokenClass.NUMBER, span) for part in re.split(r"[./]", match[0])]
    return [_token(valid[0], TokenClass.DATE, span, tuple(valid[1:]))]


def _named(match: re.Match[str], span: Pair) -> list[TextToken]:
    numbers = [int(number) for number in re.findall(r"\d+", match[0])]
    month = next(
        vocabulary.MONTHS[word] for word in re.findall(r"[a-z]+", match[0].lower()) if word in vocabulary.MONTHS
    )
    day = numbers[0]
    if not _is_day(day, month):
        words = re.findall(r"\d+|[a-z]{3,}", match[0].lower())
        return [_token(word, TokenClass.NUMBER if word[0].isdigit() else TokenClass.WORD, span) for word in words]
    year = f"{numbers[1]:04}" if len(numbers) > 1 else "-"
    return [_token(f"{year}-{month:02}-{day:02}", TokenClass.DATE, span)]


def _clock(match: re.Match[str], span: Pair) -> list[TextToken]:
    numbers = [int(number) for number in re.findall(r"\d+", match[0])]
    hour, minute = numbers[0], numbers[1] if len(numbers) > 1 else 0
    half = re.search("[ap]", match[0].lower())
    if half is not None:
        hour = hour % 12 + (12 if half[0] == "p" else 0)
    return [_token(f"t{hour:02}:{minute:02}", TokenClass.DATE, span)]


def _number(match: re.Match[str], span: Pair) -> list[TextToken]:
    written = re.sub(r"(?:st|nd|rd|th)$", "", match[0].lower())
    separator = match[8]
    if separator is not None and not written.lstrip("-").startswith("0"):
        whole, fraction = _grouped(written, separator)
        readings = [_decimal(whole + fraction)]
        if separator == "." and written.count(".") == 1 and not fraction:
            readings.append(_decimal(written))
    elif written.count(".") > 1 or (separator in (" ", "'")):
        readings = [written]
    else:
        readings = [_decimal(written.replace(",", "."))]
    return [_token(readings[0], TokenClass.NUMBER, span, tuple(readings[1:]))]


def _grouped(written: str, separator: str) -> tuple[str, str]:
    """Split a number with separators of thousands: its digits, and its fraction with a point."""
    pieces = written.split(separator)
    last, fraction = pieces[-1], ""
    for point in ".,":
        if point != separator and point in last:
            last, _, digits = last.partition(point)
            fraction = "." + digits
    return "".join([*pieces[:-1], last]), fraction


def _decimal(written: str) -> str:
    """Return one form of a number: no zeros after its fraction or before its whole part."""
    try:
        value = Decimal(written)
    except InvalidOperation:
        return written
    return format(value.normalize() + 0, "f")


def _symbol(match: re.Match[str], span: Pair) -> list[TextToken]:
    return [_token(vocabulary.UNITS[match[0].lower()], TokenClass.UNIT, span)]


def _character(match: re.Match[str], span: Pair) -> list[TextToken]:
    return [_token(match[0], TokenClass.WORD, span)]


def _word(match: re.Match[str], span: Pair) -> list[TextToken]:
    word = match[0].casefold()
    if word == "cannot":
        return [_token("can", TokenClass.WORD, span), _token("not", TokenClass.WORD, span)]
    if word.endswith("n't"):
        stem = {"ca": "can", "wo": "will", "sha": "shall"}.get(word[:-3], word[:-3])
        return [_token(stem, TokenClass.WORD, span), _token("not", TokenClass.WORD, span)]
    if word in vocabulary.NUMBER_WORDS:
        return [_token(str(vocabulary.NUMBER_WORDS[word]), TokenClass.NUMBER, span)]
    return [_token(word, TokenClass.WORD, span)]


_READERS = {
    "iso": _iso,
    "numeric": _numeric,
    "day_month": _named,
    "month_day": _named,
    "clock": _clock,
    "number": _number,
    "symbol": _symbol,
    "character": _character,
    "word": _word,
}


def _is_day(day: int, month: int) -> bool:
    return 1 <= month <= 12 and 1 <= day <= 31


def _token(key: str, kind: TokenClass, span: Pair, readings: tuple[str, ...] = ()) -> TextToken:
    return TextToken(sys.intern(key), kind, *span, readings)


def _with_units(tokens: list[TextToken]) -> Iterator[TextToken]:
    """Name units, put currencies after their amount, and join number words such as twenty-four."""
    index = 0
    while index < len(tokens):
        token = tokens[index]
        following = tokens[index + 1] if index + 1 < len(tokens) else None
        previous = tokens[index - 1] if index else None
        unit = vocabulary.UNITS.get(token.key)
        after_number = previous is not None and previous.kind is TokenClass.NUMBER
        if unit in vocabulary.CURRENCIES and not after_number and following and following.kind is TokenClass.NUMBER:
            # Both have the whole span, so that positions do not decrease.
            span = min(token.start, following.start), max(token.end, following.end)
            yield following._replace(start=span[0], end=span[1])
            yield TextToken(unit, TokenClass.UNIT, *span)
            index += 2
            continue
        if token.key == "per" and following and following.key == "cent":
            yield token._replace(key="percent", kind=TokenClass.UNIT, end=following.end)
            index += 2
            continue
        if unit is not None and (after_number or token.key not in vocabulary.AFTER_NUMBERS_ONLY):
            token = token._replace(key=unit, kind=TokenClass.UNIT)
        elif _is_tens_and_ones(token, following) and following is not None:
            key = str(int(token.key) + int(following.key))
            token = token._replace(key=key, end=following.end)
            index += 1
        yield token
        index += 1


def _is_tens_and_ones(token: TextToken, following: TextToken | None) -> bool:
    return (
        following is not None
        and token.kind is following.kind is TokenClass.NUMBER
        and token.key in ("20", "30", "40", "50", "60", "70", "80", "90")
        and following.key in ("1", "2", "3", "4", "5", "6", "7", "8", "9")
        # Words only: digits have two characters or one, words at least three.
        and min(token.end - token.start, following.end - following.start) > 2
    )
