"""Committed files contain no forbidden text, and pages refer only to existing things."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[3]

# Assembled from pieces, so that this file passes its own test.
REGISTRY_HOSTS = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("maven", "org"),
        ("npmjs", "org"),
        ("crates", "io"),
        ("golang", "org"),
        ("debian", "org"),
        ("docker", "io"),
        ("ghcr", "io"),
        ("quay", "io"),
    )
]
FOLDERS_OF_ONE_MACHINE = ["/" + name + "/" for name in ("root", "work", "home/[a-z]+", "Users/[A-Za-z]+")]

DECISION_PARTS = ("Context", "Options", "Evidence", "Decision", "Revisit when")


def committed() -> dict[str, str]:
    """The text of every file that is or would be committed, by its path."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    texts = {}
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if path.is_file():
            data = path.read_bytes()
            if b"\0" not in data[:4096]:
                texts[name] = data.decode("utf-8")
    return texts


FILES = committed()
PAGES = {name: text for name, text in FILES.items() if name.endswith(".md")}


def lines_with(pattern: str, files: dict[str, str]) -> list[str]:
    compiled = re.compile(pattern)
    return [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, text in files.items()
        for number, line in enumerate(text.splitlines(), 1)
        if compiled.search(line)
    ]


def test_no_file_names_a_registry() -> None:
    # Lock files have addresses and module paths.
    locks = {"uv.lock", "go.mod", "go.sum"}
    files = {name: text for name, text in FILES.items() if Path(name).name not in locks}
    assert not lines_with("|".join(map(re.escape, REGISTRY_HOSTS)), files)


def test_no_file_names_a_folder_of_one_machine() -> None:
    # The Dockerfile names folders of the image. Everywhere else such a path belongs to the author's machine.
    files = {name: text for name, text in FILES.items() if Path(name).name not in ("uv.lock", "Dockerfile")}
    assert not lines_with(r"(?<![\w.}\])])(" + "|".join(FOLDERS_OF_ONE_MACHINE) + ")", files)


def test_commands_in_pages_and_messages_exist() -> None:
    sources = {name: text for name, text in FILES.items() if name.endswith((".md", ".py", ".yml", ".yaml", ".toml"))}
    wrong = []
    for name, text in sources.items():
        # In running text a command is in backticks, in a shell block at the start of a line.
        for match in re.finditer(r"(?:`|^\$ |^)barograph ([a-z][a-z-]*)(?=[ `\n])", text, re.MULTILINE):
            if match[1] not in COMMANDS:
                wrong.append(f"{name}:{text.count(chr(10), 0, match.start()) + 1}: barograph {match[1]}")
    assert not wrong


def test_targets_in_pages_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", FILES["Makefile"], re.MULTILINE))
    wrong = [
        f"{name}: make {target}"
        for name, text in FILES.items()
        if name.endswith((".md", ".py", ".yml")) or name == ".ci/run"
        for target in re.findall(r"(?:`|^|step [a-z]+ )make ([a-z-]+)(?=[ `\n])", text, re.MULTILINE)
        if target not in targets
    ]
    assert not wrong


def test_relative_links_have_a_target() -> None:
    wrong = []
    for name, text in PAGES.items():
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            if not re.match(r"[a-z]+:", target) and not (ROOT / name).parent.joinpath(target).exists():
                wrong.append(f"{name}: {target}")
    assert not wrong


def anchors(page: str) -> set[str]:
    """The anchors that GitHub derives from the headings of a page."""
    text = re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_anchors_of_links_exist() -> None:
    wrong = []
    for name, text in PAGES.items():
        for target, anchor in re.findall(r"\]\(([^)#\s:]*)#([^)\s]+)\)", text):
            path = (ROOT / name).parent.joinpath(target).resolve() if target else ROOT / name
            if anchor not in anchors(path.read_text(encoding="utf-8")):
                wrong.append(f"{name}: {target}#{anchor}")
    assert not wrong


def test_pages_in_text_exist() -> None:
    wrong = []
    for name, text in FILES.items():
        for page in re.findall(r"\bdocs/[\w/-]+\.md", text):
            if page not in FILES:
                wrong.append(f"{name}: {page}")
        for number in re.findall(r"\bdocs/decisions/(\d{4})", text):
            if not any(other.startswith(f"docs/decisions/{number}-") for other in FILES):
                wrong.append(f"{name}: decision {number}")
    assert not wrong


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = sorted(
        int(Path(name).name[:4]) for name in FILES if re.match(r"docs/decisions/\d{4}-[a-z0-9-]+\.md$", name)
    )
    assert numbers == list(range(1, len(numbers) + 1))
    assert numbers


@pytest.mark.parametrize("name", sorted(name for name in FILES if name.startswith("docs/decisions/")))
def test_a_decision_record_has_all_sections(name: str) -> None:
    assert re.findall(r"^## (.+)$", FILES[name], re.MULTILINE) == list(DECISION_PARTS)


@pytest.mark.parametrize("name", [".ci/run", "tools/uv"])
def test_shell_scripts_parse_and_fail_on_errors(name: str) -> None:
    path = ROOT / name
    assert path.stat().st_mode & 0o100
    assert "set -euo pipefail" in FILES[name]
    result = subprocess.run(["bash", "-n", path], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
