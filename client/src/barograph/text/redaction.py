"""Replaces personal data and secrets in texts by placeholders such as `<email>`.

Patterns find what has a form: addresses, numbers, tokens. Names, places and what people say about themselves have none
and remain, so a redacted text is still personal data. Every pattern takes time in proportion to the text.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable

KINDS = ("email", "phone", "iban", "card", "ip", "query", "secret", "number")
"""What is replaced; the placeholder of a kind is `<KIND>`."""

Replacement = str | Callable[[re.Match[str]], str]

_IBAN_START = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}")
_IBAN_VALUES = str.maketrans({char: str(int(char, 36)) for char in string.ascii_uppercase})
_MIN_IBAN_CHARS, _MAX_IBAN_CHARS = 15, 34
_SECRET_NAME = re.compile(
    r"(?i)(?<!\w)(?:password|passwd|passphrase|passwort|secret|api[_ -]?key|access[_ -]?key|token|bearer)"
)
_SEPARATORS = (re.compile(r"(?i)\"?\s{0,3}(?:[:=]|is\b)\s{0,3}\"?"), re.compile(r"\"?\s{1,7}\"?"))
"""What may be between such a name and its secret, the first that fits."""
_RUN = re.compile(r"([^\s\"',;]*[\d_])?[^\s\"',;]*")
"""Text up to the next separator; the group ends with its last digit or underscore."""
_SECRET = re.compile(r"[^\s\"',;<>]{6,}")
_LONG_TOKEN_CHARS = 24
"""Shortest run of characters of base64 or of a URL that is a secret, if it has characters of both cases and digits."""


def redact(text: str) -> str:
    """Return a text with placeholders.

    They are those of `KINDS`; a number has nine digits or more. A URL keeps its host and path; its query, fragment and
    password are replaced.
    """
    for pattern, replacement in _BEFORE_NAMED:
        text = pattern.sub(replacement, text)
    text = _without_ibans(_EMAIL.sub("<email>", _without_named_secrets(text)))
    for pattern, replacement in _AFTER_IBAN:
        text = pattern.sub(replacement, text)
    return text


def _without_named_secrets(text: str) -> str:
    """Replace what follows a word such as `password`, if the text up to the next separator has a digit or underscore.

    A lookahead would read up to the next separator after every name; here each such run is read a few times at most.
    """
    parts, at, position = [], 0, 0
    run: re.Match[str] | None = None
    while name := _SECRET_NAME.search(text, position):
        position = name.end()
        for separator in _SEPARATORS:
            separated = separator.match(text, name.end())
            if separated is None:
                continue
            start = separated.end()
            if run is None or not run.start() <= start < run.end():
                run = _RUN.match(text, start)
            has_digit = run is not None and start < run.end(1)
            if has_digit and (secret := _SECRET.match(text, start)):
                parts += [text[at:start], "<secret>"]
                at = position = secret.end()
                break
    return "".join([*parts, text[at:]]) if parts else text


def _without_ibans(text: str) -> str:
    parts, at = [], 0
    for match in _IBAN_START.finditer(text):
        if match.start() < at:
            continue
        end = _iban_end(text, match.start())
        if end:
            parts += [text[at : match.start()], "<iban>"]
            at = end
    return "".join([*parts, text[at:]]) if parts else text


def _iban_end(text: str, start: int) -> int:
    """Return the end of the longest IBAN that starts at a position, written with or without separators; 0 if none."""
    compact, end = "", 0
    for position in range(start, min(len(text), start + 2 * _MAX_IBAN_CHARS)):
        char = text[position]
        if char.isascii() and char.isalnum():
            compact += char.upper()
            at_boundary = not text[position + 1 : position + 2].isalnum()
            if at_boundary and _MIN_IBAN_CHARS <= len(compact) <= _MAX_IBAN_CHARS and _is_iban(compact):
                end = position + 1
        elif char not in " -":
            break
    return end


def _is_iban(compact: str) -> bool:
    return int((compact[4:] + compact[:4]).translate(_IBAN_VALUES)) % 97 == 1


def _without_query(match: re.Match[str]) -> str:
    return match[1] + "?<query>" if match[2] else match[0]


def _card(match: re.Match[str]) -> str:
    return "<card>" if _is_luhn(match[0]) else match[0]


def _is_luhn(text: str) -> bool:
    digits = [int(char) for char in text if char.isdecimal()]
    total = sum(digits[-1::-2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return 13 <= len(digits) <= 19 and total % 10 == 0


def _phone(match: re.Match[str]) -> str:
    digits = sum(char.isdecimal() for char in match[0])
    return "<phone>" if 7 <= digits <= 15 else match[0]


def _long_token(match: re.Match[str]) -> str:
    token = match[0]
    has = any(map(str.isupper, token)), any(map(str.islower, token)), any(map(str.isdecimal, token))
    return "<secret>" if all(has) else token


_SCHEME = r"(?<![A-Za-z0-9+.\-/])([A-Za-z][A-Za-z0-9+.-]{0,20}://"
_BEFORE_NAMED: tuple[tuple[re.Pattern[str], Replacement], ...] = (
    (re.compile(r"-----BEGIN [A-Z0-9 ]{1,60}-----.*?(?:-----END [A-Z0-9 ]{1,60}-----|\Z)", re.DOTALL), "<secret>"),
    # The query and the fragment of a URL. A URL without them matches too, so that no part of it is read again.
    (re.compile(_SCHEME + r"[^\s?#<>\"']++)([?#][^\s<>\"')\]]+)?"), _without_query),
    # the user and the password of a URL
    (re.compile(_SCHEME + r")[^\s/@<>\"']{1,500}@"), r"\1<secret>@"),
    (re.compile(r"(?<![\w.-])eyJ[\w-]{5,}\.[\w-]{2,}(?:\.[\w-]*)?"), "<secret>"),
    (re.compile(r"(?<![\w-])(?:sk|pk|rk)[-_][\w-]{12,}"), "<secret>"),
    (re.compile(r"(?<![\w-])(?:gh[pousr]_|github_pat_|glpat-|xox[abeprs]-|hf_|npm_|pypi-|AIza)[\w-]{10,}"), "<secret>"),
    (re.compile(r"(?<![A-Za-z0-9])(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}"), "<secret>"),
)
_EMAIL = re.compile(r"(?<![\w.!#$%&'*+/=?^`{|}~-])[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_IPV6 = "|".join(
    (
        r"(?:[A-Fa-f0-9]{1,4}:){7}[A-Fa-f0-9]{1,4}",
        r"(?:[A-Fa-f0-9]{1,4}:){1,6}(?::[A-Fa-f0-9]{1,4}){1,6}",
        r"(?:[A-Fa-f0-9]{1,4}:){1,7}:",
        r"::(?:[A-Fa-f0-9]{1,4}:){0,6}[A-Fa-f0-9]{1,4}",
    )
)
_AFTER_IBAN: tuple[tuple[re.Pattern[str], Replacement], ...] = (
    (re.compile(r"(?<![A-Fa-f0-9])[A-Fa-f0-9]{32,}(?![A-Fa-f0-9])"), "<secret>"),
    (re.compile(rf"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{{{_LONG_TOKEN_CHARS},}}={{0,2}}"), _long_token),
    (re.compile(r"(?<![\w.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\w]|\.\d)"), "<ip>"),
    (re.compile(rf"(?<![\w:])(?:{_IPV6})(?![\w:])"), "<ip>"),
    (re.compile(r"(?<![\w.])\d(?:[ -]?\d){12,18}(?![\w])"), _card),
    (re.compile(r"(?<![\w.])(?:\+|00)\d(?:[ ().\-/]{0,2}\d){6,14}(?!\w)"), _phone),
    (re.compile(r"(?<![\w.,:/-])(?:\(\d{1,5}\)|0\d{1,4}|\d{3})[ .\-/]\d{2,4}(?:[ .\-/]?\d{2,5}){1,4}(?!\w)"), _phone),
    (re.compile(r"(?<![\w.])\d{9,}(?!\w)"), "<number>"),
)
