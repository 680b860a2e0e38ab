"""Parses what the HTTP gateway needs from a statement before it passes it to the engine.

In ClickHouse's HTTP interface, the data of an INSERT follow its text in the same body; the embedded engine needs them
separately. The gateway therefore finds the end of the text. It also extracts the first keyword and the reply format,
and detects a second statement, which the server rejects.
"""

import re
from dataclasses import dataclass

# Everything that can hide a keyword, a bracket or a semicolon is one token. An unclosed quote matches none of them, so
# the text after it is parsed as words, and the engine reports the syntax error.
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
    [
        "ALTER",
        "ATTACH",
        "BACKUP",
        "CREATE",
        "DELETE",
        "DETACH",
        "DROP",
        "EXCHANGE",
        "GRANT",
        "INSERT",
        "KILL",
        "MOVE",
        "OPTIMIZE",
        "RENAME",
        "REPLACE",
        "RESTORE",
        "REVOKE",
        "SYSTEM",
        "TRUNCATE",
        "UNDROP",
        "UPDATE",
    ]
)
_SESSION_STATE = frozenset({"SET", "USE"})

# The engine parses inline values and queries itself; after VALUES everything is data.
_INSERT_TAKES_OVER = frozenset({b"VALUES", b"SELECT", b"WITH"})


@dataclass(frozen=True)
class Statement:
    """One parsed statement.

    Attributes:
        verb: Its first word in upper case, brackets before it passed over; empty when there is none.
        reply_format: The format after its last FORMAT; None when there is none, and for INSERT.
        insert_text: For an INSERT with a FORMAT: the text before that word. None otherwise.
        data_start: Where in the body its data begins.
        settings_start: Where in that text its SETTINGS begin; its end where it has none.
        has_another: Whether a second statement follows.
    """

    verb: str
    reply_format: str | None = None
    insert_text: str | None = None
    insert_format: str | None = None
    data_start: int = 0
    settings_start: int = 0
    has_another: bool = False

    @property
    def writes(self) -> bool:
        """Whether the statement may change data or schema."""
        return self.verb in _WRITES

    @property
    def has_result(self) -> bool:
        """Whether the statement returns a result set, even an empty one."""
        return bool(self.verb) and not self.writes and self.verb not in _SESSION_STATE


def parse_statement(body: bytes) -> Statement:
    """Parse the first statement of `body`; syntax errors are left for the engine to report."""
    verb = b""
    depth = 0
    ended = False
    format_word: re.Match[bytes] | None = None
    reply_format: str | None = None
    in_settings = False
    insert_settings: int | None = None
    for token in _TOKEN.finditer(body):
        kind = "quoted" if token.group("quoted") else token.lastgroup
        if kind == "comment":
            continue
        if ended and kind != "end":
            return Statement(_text(verb), reply_format, has_another=True)
        if kind == "open":
            depth += 1
        elif kind == "close":
            depth -= 1
        elif kind == "end":
            ended = True
        elif kind == "word" and not verb:
            verb = token.group().upper()
        elif kind == "word" and depth <= 0 and not in_settings:
            word = token.group().upper()
            # `format` is a good name for a column or a function too: the clause is the word, blanks, a name.
            if format_word and not body[format_word.end() : token.start()].strip():
                if verb == b"INSERT":
                    return _insert(body, format_word.start(), token, insert_settings)
                format_word, reply_format = None, _text(token.group())
            elif word == b"SETTINGS" and reply_format:
                in_settings = True
            elif word == b"SETTINGS" and verb == b"INSERT" and insert_settings is None and not _names_next(body, token):
                insert_settings, format_word = token.start(), None
            elif verb == b"INSERT" and word in _INSERT_TAKES_OVER:
                return Statement("INSERT")
            else:
                # Nothing but SETTINGS follows a FORMAT clause, so what was found was none.
                format_word, reply_format = (token if word == b"FORMAT" else None), None
    return Statement(_text(verb), reply_format)


def _names_next(body: bytes, token: re.Match[bytes]) -> bool:
    """Whether a word of an INSERT is the name of its table."""
    before = body[: token.start()].rstrip().upper()
    return before.endswith((b"INTO", b"TABLE", b"."))


def _insert(body: bytes, text_end: int, name: re.Match[bytes], settings_start: int | None) -> Statement:
    space = _SPACE_BEFORE_DATA.match(body, name.end())
    assert space is not None
    return Statement(
        "INSERT",
        insert_text=_text(body[:text_end]),
        insert_format=_text(name.group()),
        data_start=space.end(),
        settings_start=len(_text(body[: text_end if settings_start is None else settings_start])),
    )


def _text(part: bytes) -> str:
    return part.decode("utf-8", errors="replace")
