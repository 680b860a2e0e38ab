"""Lists of pages: the README.md of decisions and runbooks, and the parts of the navigation in zensical.toml."""

import re
from collections.abc import Callable, Iterable
from operator import attrgetter
from pathlib import Path

from tools.generate import DOCS, NOTE

SITE = DOCS.parent / "zensical.toml"
_DECISIONS = f"""\
# Decisions

{NOTE}

Why Barograph is built as it is. Each record states the decision, why, and when to revisit it.

"""
_RUNBOOKS = f"""\
# Runbooks

{NOTE}

One page per alert rule. [Alerts](../alerts.md) says exactly when each fires and clears. Run queries with
`barograph query "…"` or in Grafana's Explore.

| rule | |
|---|---|
"""


def _pages(folder: str) -> list[Path]:
    return sorted(path for path in (DOCS / folder).glob("*.md") if path.name != "README.md")


def _title(page: Path) -> str:
    """Return the heading of a page."""
    return page.read_text("utf-8").partition("\n")[0].removeprefix("# ")


def _decision(page: Path) -> str:
    number, _, title = _title(page).partition(". ")
    status = page.read_text("utf-8").splitlines()[2].partition(" · ")[2]
    later = "" if status == "Accepted" else f" · {status}"
    return f"{number}. [{title}]({page.name}){later}\n"


def _navigation(text: str, name: str, rows: Iterable[tuple[str, str]]) -> str:
    """Replace the part of the navigation between the marks of a name."""
    pattern = rf"(( *)# {name}: generated\n).*?( *# end of {name}\n)"
    lines = [f'{{"{title}" = "{path}"}},\n' for title, path in rows]

    def replaced(match: re.Match[str]) -> str:
        return match[1] + "".join(match[2] + line for line in lines) + match[3]

    new, n = re.subn(pattern, replaced, text, flags=re.DOTALL)
    assert n == 1, f"zensical.toml has no marks of {name}"
    return new


def generate() -> tuple[dict[Path, str], list[str]]:
    """Return both lists and the configuration of the site."""
    rows: dict[str, Callable[[Path], str]] = {
        "decisions": _title,
        **dict.fromkeys(("runbooks", "commands", "contract", "views", "tables"), attrgetter("stem")),
    }
    site = SITE.read_text("utf-8")
    for folder, title in rows.items():
        site = _navigation(site, folder, ((title(page), f"{folder}/{page.name}") for page in _pages(folder)))
    runbooks = "".join(f"| [{page.stem}]({page.name}) | {_title(page)} |\n" for page in _pages("runbooks"))
    return {
        DOCS / "decisions" / "README.md": _DECISIONS + "".join(map(_decision, _pages("decisions"))),
        DOCS / "runbooks" / "README.md": _RUNBOOKS + runbooks,
        SITE: site,
    }, []
