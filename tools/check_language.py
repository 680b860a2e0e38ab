#!/usr/bin/env python3
"""Check prose and names for private vocabulary: `python tools/check_language.py [--count] [PATH ...]`.

The glossary in docs/glossary.md has the project's terms; this file lists the words that they replace. Two passes
read every tracked text file, or the files and folders that the arguments name:

- PHRASES are regular expressions for prose. In Python they apply to comments, docstrings, other strings and the names
  of tests (underscores count as spaces); in other files to the whole text. A phrase matches across line breaks.
- NAMES are identifiers that say nothing about what they hold. They are reported where Python binds them: variables,
  arguments, attributes, functions, classes, import aliases. MODULES are the same for file names.

Exit status: 0 if nothing is reported, 1 otherwise, 2 for wrong arguments. Standard library only, Python 3.11 or newer
(docs/decisions/0034-language-check.md).
"""

import argparse
import ast
import io
import re
import subprocess
import sys
import tokenize
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]

PHRASES: list[tuple[str, str]] = [
    (r"whoever\b", "the actor: the caller, the operator, the supervisor"),
    (r"whosoever|whomever|whatsoever", "the actor or the thing"),
    (r"thereby\b", "a new sentence that starts with 'This'"),
    (r"anew\b", "again, or a verb with re-: recount, reread, rebuild"),
    (r"whence|hitherto|thereof|whereof|therein|wherein|hereby|herein|thence|heretofore|whereupon", "plain English"),
    (r"reckon(s|ed|ing)?\b", "compute, count"),
    (r"(put|puts|putting|puttings) aside", "dead-letter (verb); a dead letter"),
    (r"(set|sets|setting) down", "evict (cache); record (text)"),
    (r"(held|hold|holds|holding) (\w+ ){0,3}(against)\b", "compare … with"),
    (r"(is|are|was|were|be) held to\b", "is checked against, is compared with"),
    (r"(stand|stands|stood|standing) still", "is stalled, does not advance"),
    (r"(the|a|its|their|each|every|both|two) lines? of (psi|a rate|rates|levels?|the level|minor|major)", "threshold"),
    (
        r"(minor|major) lines?\b|lines? (minor|major)\b|(at|over|above|under|below|beyond|past|cross(es|ed)?) "
        r"(the|its) line\b",
        "threshold",
    ),
    (r"who waits\b", "the actor"),
    (r"(let|lets|letting) go of", "release, close, evict, drop"),
    (r"(let|lets) (\w+ ){1,3}in\b", "authenticate, accept"),
    (r"told\b(?! apart)", "reported, sent, passed; a noun for the thing: report, message"),
    (r"asked\b", "requested, queried; a noun for the thing: query, request"),
    (r"(what|as|is|are|was|were|be|been|than) (\w+ )?said\b", "reported, stated, logged"),
    (r"said (of|to be|by)\b|the said\b", "reported, stated"),
    (
        r"(?<!dead[ -])(?<!barograph-)(?<!upper[ -]case )(?<!lower[ -]case )(?<!capital )(?<!small )(?<!greek )"
        r"(?<!and )(?<!a-z )letters?\b(?!,? (and |or )?(digit|number|underscore))",
        "dead letter",
    ),
    (r"(come|comes|came|coming) again\b", "is redelivered, recurs, repeats"),
    (r"(go|goes|went|going) round for ever", "repeats forever"),
    (r"stretch(es)?\b", "range, period, interval"),
    (r"(is|are|was|were|be|been|being) away\b(?! from)", "unavailable, down"),
    (
        r"(keeps?|kept|loses?|lost|takes?|took|costs?) (\w+ )?(its|their|his|a processor its) places?\b",
        "stays in the consumer group; keeps its partitions",
    ),
    (r"(for|in) want of\b", "because … is missing"),
    (r"hangs? about|for good\b", "permanently"),
    (r"(look|looks|looked|looking) whether", "check whether"),
    (r"(mend|mends|mended|mending)\b", "fix, repair"),
    (r"(at|by) (\w+ )?leisure|forthwith|henceforth|lest\b|albeit", "plain English"),
    (r"whom (it|they|he) (let|lets)|nobody (chose|fences)\b", "the actor, or the passive"),
    (r"a part that is (still )?to come", "a partial that has not arrived"),
    (r"(the|their|its|its own|least|which) rights\b", "privileges (ClickHouse), ACLs (Kafka), permissions"),
    (r"made anew|begins anew|counted anew", "recreated, restarted, recounted"),
    (r"(in|by|from|of) what (it|they|there) (is|are|was|were)", "the thing"),
]
"""Patterns of private wording, in lower case, and replacements. Case is ignored, a space matches any white space."""

NAMES: dict[str, str] = {
    "told": "report, message, arguments",
    "said": "message, report",
    "asked": "query, request, requested",
    "found": "matches, result, rows",
    "seen": "visited, known, latest",
    "looked": "checked_at, examined",
    "look": "peek, lookup",
    "wanted": "projection, expected, requested",
    "coming": "next_hours, pending, offset_range",
    "given": "arguments, values, options",
    "kept": "retained",
    "held": "cached, owned, held_bytes",
    "mine": "assigned_partitions",
    "anew": "fresh, again",
    "whose": "owner",
    "whoever": "actor",
    "gone": "removed, evicted",
    "going": "is_running",
    "done_so": "processed",
    "letter": "dead_letter",
    "letters": "dead_letters",
    "stretch": "merged_range, interval",
    "every": "columns, rows: a plural noun",
    "some": "sample, rows",
    "made": "result, built",
    "place": "index, position, partition",
    "places": "indices, positions, partitions",
    "room": "section, map_name, capacity",
    "away": "evicted, unavailable",
    "read_again": "reread",
}
"""Identifiers that name nothing, and nouns to consider."""

MODULES: dict[str, str] = {
    **NAMES,
    **dict.fromkeys(
        [
            "shown",
            "grown",
            "watched",
            "drawn",
            "filled",
            "counted",
            "judged",
            "scored",
            "throttled",
            "repeated",
            "happenings",
        ],
        "a noun for what the module holds",
    ),
}
"""File names without extension that say nothing about the content."""

SUFFIXES = {".py", ".md", ".sql", ".yml", ".yaml", ".toml", ".sh", ".txt", ".xml", ".html", ".js", ".css", ""}
SKIPPED = (
    "CHANGELOG.md",
    "LICENSE",
    "uv.lock",
    "tools/check_language.py",
    "docs/tables.md",
    "docs/metrics.md",
    "docs/client.md",
)
"""Not checked: the history, texts of others, this list, and generated pages, whose sources are."""
SKIPPED_FOLDERS = ("tests/golden/", "tests/contract/golden/", "tests/fuzz/corpus/", "deploy/grafana/", "docs/charts/")
"""Data and generated files."""


class Finding(NamedTuple):
    """One place that should be reworded."""

    path: str
    line: int
    text: str
    suggestion: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: '{self.text}', write instead: {self.suggestion}"


def tracked_files() -> list[str]:
    """Paths below the root of every file that is or would be committed."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    return sorted({name for name in output.split("\0") if name and (ROOT / name).is_file()})


def is_checked(name: str) -> bool:
    """Whether the file with this path below the root holds prose or code of the project."""
    return (
        PurePosixPath(name).suffix in SUFFIXES
        and PurePosixPath(name).name not in SKIPPED
        and name not in SKIPPED
        and not name.startswith(SKIPPED_FOLDERS)
    )


def prose_of_python(source: str) -> str:
    """The source with all code replaced by NUL: comments and strings remain where they were, without their marks."""
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    prose = [character if character.isspace() else "\0" for character in source]
    fstring_middle = getattr(tokenize, "FSTRING_MIDDLE", None)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in (tokenize.COMMENT, tokenize.STRING, fstring_middle):
            if token.type in (getattr(tokenize, "FSTRING_START", None), getattr(tokenize, "FSTRING_END", None)):
                begin = starts[token.start[0] - 1] + token.start[1]
                prose[begin : begin + len(token.string)] = " " * len(token.string)
            continue
        begin, end = starts[token.start[0] - 1] + token.start[1], starts[token.end[0] - 1] + token.end[1]
        text = source[begin:end]
        if token.type == tokenize.COMMENT:
            text = text.replace("#", " ", 1)
        elif token.type == tokenize.STRING:
            opening = re.match(r"([a-zA-Z]*)('''|\"\"\"|'|\")", text)
            assert opening is not None
            body = text[opening.end() : -len(opening[2])]
            if "f" in opening[1].lower():  # Python 3.11 has no tokens for the parts of an f-string
                body = re.sub(r"\{[^{}]*\}", lambda match: "\0" * len(match[0]), body)
            text = " " * opening.end() + body + " " * len(opening[2])
        prose[begin:end] = text
    return "".join(prose)


class Text:
    """A text in lower case with its white space collapsed, and the line number of each of its words."""

    def __init__(self, source: str) -> None:
        """Args: source: The text as it is in the file."""
        words: list[str] = []
        self._starts: list[int] = []
        self._lines: list[int] = []
        length = 0
        for number, line in enumerate(source.split("\n"), 1):
            for word in line.split():
                words.append(word)
                self._starts.append(length)
                self._lines.append(number)
                length += len(word) + 1
        self.joined = " ".join(words).lower()

    def line_at(self, offset: int) -> int:
        """The number of the line, from 1, of the character at `offset` of `joined`."""
        return self._lines[bisect_right(self._starts, offset) - 1]


ANY_PHRASE = re.compile(r"\b(?:" + "|".join(f"(?P<p{i}>{pattern})" for i, (pattern, _) in enumerate(PHRASES)) + ")")


def phrases_in(path: str, source: str, line_of_all: int | None = None) -> Iterator[Finding]:
    """Every match of PHRASES in a text; `line_of_all` replaces the line number of each."""
    text = Text(source)
    for match in ANY_PHRASE.finditer(text.joined):
        assert match.lastgroup is not None
        line = text.line_at(match.start()) if line_of_all is None else line_of_all
        yield Finding(path, line, match[0], PHRASES[int(match.lastgroup[1:])][1])


def bound_names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every name that a program binds, with the line on which it does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno
        elif isinstance(node, ast.alias) and node.asname:
            yield node.asname, node.lineno
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            yield node.name, node.lineno


def check_python(path: str, source: str) -> Iterator[Finding]:
    """Findings in the comments, strings, names of tests and bound names of a Python file."""
    yield from phrases_in(path, prose_of_python(source))
    tree = ast.parse(source)
    for name, line in dict.fromkeys(bound_names(tree)):
        if name in NAMES:
            yield Finding(path, line, name, f"a name such as {NAMES[name]}")
        elif name.startswith("test_"):
            yield from phrases_in(path, name.replace("_", " "), line)


def check_file(path: str) -> list[Finding]:
    """All findings in one file, by line.

    Args:
        path: The file, below the root of the repository.
    """
    data = (ROOT / path).read_bytes()
    if b"\0" in data:
        return []
    source = data.decode("utf-8")
    findings = list(check_python(path, source) if path.endswith(".py") else phrases_in(path, source))
    stem = PurePosixPath(path).stem.removeprefix("test_")
    if path.endswith(".py") and stem in MODULES:
        findings.append(Finding(path, 1, PurePosixPath(path).name, f"a module name such as {MODULES[stem]}"))
    return sorted(findings, key=lambda finding: finding.line)


def selected(arguments: list[str]) -> list[str]:
    """The tracked files to check: all, or those that the arguments name or that lie below them.

    Raises:
        ValueError: an argument does not exist, or is outside the repository.
    """
    names = [name for name in tracked_files() if is_checked(name)]
    if not arguments:
        return names
    paths = []
    for argument in arguments:
        path = Path(argument).resolve()
        if not path.exists() or not path.is_relative_to(ROOT):
            raise ValueError(f"{argument} is not a file or folder of this repository")
        paths.append(path.relative_to(ROOT).as_posix())
    return [name for name in names if any(path in (".", name) or name.startswith(f"{path}/") for path in paths)]


def folder_of(name: str) -> str:
    """The part of the product that a file belongs to: at most two folders of its path."""
    parts = PurePosixPath(name).parts[:-1]
    return "/".join(parts[:2]) if parts else "."


def main() -> int:
    """Print findings, or their number per folder, and return the exit status."""
    parser = argparse.ArgumentParser(description="Check prose and names for private vocabulary.")
    parser.add_argument("paths", nargs="*", metavar="PATH", help="files or folders; all tracked files by default")
    parser.add_argument("--count", action="store_true", help="print the number of findings per folder only")
    options = parser.parse_args()
    try:
        names = selected(options.paths)
    except ValueError as error:
        parser.error(str(error))
    findings = [finding for name in names for finding in check_file(name)]
    if options.count:
        for folder, number in sorted(Counter(folder_of(finding.path) for finding in findings).items()):
            print(f"{number:6d}  {folder}")
    else:
        for finding in findings:
            print(finding)
    if findings:
        print(f"{len(findings)} findings; docs/glossary.md has the terms.", file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
