"""What an HTTP door must know of a statement before the engine sees it.

ClickHouse's HTTP interface sends an INSERT's data behind its text, in the same body; the embedded engine takes
the two apart. So the door has to find where the text ends. While it reads, it also finds the statement's first
word, the format that it asks its reply to be in, and a second statement, which the server refuses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Everything that can hide a keyword, a bracket or a semicolon is one token. A quote that never closes matches
# none of these, and the text after it is read as words: the engine then reports the broken syntax.
_TOKEN = re.compile(
    rb"""
      (?P<comment> --[^\n]* | \#(?:!|[ ])[^\n]* | /\*.*?\*/ )
    | (?P<quoted>  '(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.|"")*" | `(?:[^`\\]|\\.|``)*`
                 | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ )
    | (?P<open>    [(\[{] )
    | (?P<close>   [)\]}] )
    | (?P<end>     ; )
    | (?P<word>    \w+ )
    """,
    re.VERBOSE | re.DOTALL,
)

_SPACE_BEFORE_DATA = re.compile(rb"[ \t\f]*(?:\r?\n)?")

_WRITES = frozenset(
    b"ALTER ATTACH BACKUP CREATE DELETE DETACH DROP EXCHANGE GRANT INSERT KILL MOVE OPTIMIZE RENAME REPLACE RESTORE "
    b"REVOKE SYSTEM TRUNCATE UNDROP UPDATE".split()
)
_SESSION_STATE = frozenset({b"SET", b"USE"})


@dataclass(frozen=True)
class Statement:
    """One statement as the door sees it.

    Attributes:
        verb: Its first word in upper case; empty for an empty text, and `(` is passed over.
        reply_format: The format after its last FORMAT; None when there is none, and for INSERT.
        insert_text: For an INSERT with a FORMAT: the text before that word. None otherwise.
        insert_format: The format of its data.
        data_start: Where in the body its data begins.
        has_another: Whether a second statement follows.
    """

    verb: str
    reply_format: str | None = None
    insert_text: str | None = None
    insert_format: str | None = None
    data_start: int = 0
    has_another: bool = False

    @property
    def writes(self) -> bool:
        """Whether it may change data or schema."""
        return self.verb.encode() in _WRITES

    @property
    def has_result(self) -> bool:
        """Whether it yields rows, be it none."""
        return bool(self.verb) and not self.writes and self.verb.encode() not in _SESSION_STATE


def parse_statement(body: bytes) -> Statement:
    """Read the first statement of `body`; what is broken is left for the engine to report."""
    verb: bytes | None = None
    depth = 0
    ended = False
    after_format = False
    reply_format: str | None = None
    format_start = 0
    for token in _TOKEN.finditer(body):
        kind = token.lastgroup if token.lastgroup != "tag" else "quoted"
        if kind == "comment":
            continue
        if ended:
            return Statement(_text(verb or b""), reply_format, has_another=kind != "end")
        if kind == "open":
            depth += 1
        elif kind == "close":
            depth -= 1
        elif kind == "end":
            ended = depth <= 0
        elif kind == "word":
            word = token.group().upper()
            if verb is None:
                verb = word
            elif depth > 0:
                continue
            elif after_format:
                reply_format = _text(token.group())
                if verb == b"INSERT":
                    return _insert(body, format_start, reply_format, token.end())
                after_format = False
            elif word == b"FORMAT":
                after_format, format_start = True, token.start()
            elif verb == b"INSERT" and word in (b"VALUES", b"SELECT", b"WITH"):
                # The engine parses inline values and queries itself, and what follows VALUES is data.
                return Statement("INSERT")
    return Statement(_text(verb or b""), reply_format)


def _insert(body: bytes, text_end: int, insert_format: str, position: int) -> Statement:
    space = _SPACE_BEFORE_DATA.match(body, position)
    assert space is not None
    return Statement(
        "INSERT",
        insert_text=_text(body[:text_end]),
        insert_format=insert_format,
        data_start=space.end(),
    )


def _text(part: bytes) -> str:
    return part.decode("utf-8", errors="replace")
