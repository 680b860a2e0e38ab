"""Text in one Unicode form, with the position of each character in the original."""

import re
import unicodedata
from bisect import bisect_right

_SPACES = "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_QUOTES = "\u2018\u2019\u201a\u201b\u02bc\u2032\u00b4"
_DOUBLE_QUOTES = "\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033\u301d\u301e"
_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"
_SAME_LENGTH = str.maketrans(
    dict.fromkeys(_SPACES, " ")
    | dict.fromkeys(_QUOTES, "'")
    | dict.fromkeys(_DOUBLE_QUOTES, '"')
    | dict.fromkeys(_DASHES, "-")
    | {"\u2026": " "}
)
"""Characters that one other character replaces, so that positions do not move."""
_MAX_GROWTH = 4
"""A piece that Unicode's form NFKC makes longer than this factor keeps its form: some characters become 18."""


def _mark_ranges() -> str:
    """Return the ranges of combining marks, which word characters of `re` do not include."""
    ranges, start = [], -1
    for code in range(0x300, 0x3100):
        is_mark = unicodedata.category(chr(code)).startswith("M")
        if is_mark and start < 0:
            start = code
        elif not is_mark and start >= 0:
            ranges.append(f"{chr(start)}-{chr(code - 1)}")
            start = -1
    return "".join(ranges)


MARKS = _mark_ranges()
"""Ranges of combining marks, for a class of a regular expression."""
_PIECE = re.compile(rf"\S{{1,32}}[{MARKS}]{{0,32}}|\s+")
"""Characters that are normalized together: they do not end before a combining mark."""


class PlainText:
    """A text in Unicode's form NFKC, with plain spaces, quotes and dashes."""

    def __init__(self, text: str) -> None:
        self.original = text
        self.text = text.translate(_SAME_LENGTH)
        self._starts: list[int] = []
        self._pieces: list[tuple[int, int, bool]] = []
        if not unicodedata.is_normalized("NFKC", self.text):
            self.text = self._normalize(self.text)

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return the positions in the original text of the characters from `start` to before `end`.

        Inside a word that the form changed, it is the word, or a part of at most 64 characters.
        """
        if not self._starts:
            return start, end
        first = bisect_right(self._starts, start) - 1
        last = bisect_right(self._starts, max(start, end - 1)) - 1
        piece_start, _, changed = self._pieces[first]
        original_start = piece_start if changed else piece_start + start - self._starts[first]
        piece_start, piece_end, changed = self._pieces[last]
        return original_start, piece_end if changed else piece_start + end - self._starts[last]

    def _normalize(self, text: str) -> str:
        parts, length = [], 0
        for match in _PIECE.finditer(text):
            piece = unicodedata.normalize("NFKC", match[0])
            if len(piece) > _MAX_GROWTH * len(match[0]):
                piece = match[0]
            self._starts.append(length)
            self._pieces.append((match.start(), match.end(), piece != match[0]))
            parts.append(piece)
            length += len(piece)
        return "".join(parts)
