"""Committed files contain no forbidden text, and pages refer only to existing things."""

import ast
import posixpath
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from tools.repository.tree import Repository, check

# Assembled from pieces, so that this file passes its own check.
_REGISTRIES = (
    *(("pypi", "org"), ("pythonhosted", "org"), ("maven", "org"), ("npmjs", "org"), ("crates", "io")),
    *(("golang", "org"), ("debian", "org"), ("docker", "io"), ("ghcr", "io"), ("quay", "io")),
)
_FOLDERS_OF_ONE_MACHINE = ("root", "work", "home/[a-z]+", "Users/[A-Za-z]+")
_LOCK_FILES = {"uv.lock", "Cargo.lock", "go.mod", "go.sum"}
"""They have addresses and module paths."""
DECISION_PARTS = ["Decision.", "Why.", "Revisit when"]
"""Bold words with which the paragraphs of a decision begin. It has no headings, which the site's search would list."""
SCRIPTS = (".ci/run", "tools/uv")


def _lines_with(pattern: str, texts: Mapping[str, str]) -> Iterator[str]:
    compiled = re.compile(pattern)
    for name, text in texts.items():
        if compiled.search(text):
            for number, line in enumerate(text.splitlines(), 1):
                if compiled.search(line):
                    yield f"{name}:{number}: {line.strip()[:120]}"


@check
def no_file_names_a_registry_or_a_folder_of_one_machine(repository: Repository) -> Iterator[str]:
    """Addresses of registries stand in lock files alone; the Dockerfile alone names folders of the image."""
    texts = {name: text for name, text in repository.texts.items() if PurePosixPath(name).name not in _LOCK_FILES}
    yield from _lines_with("|".join(re.escape(".".join(parts)) for parts in _REGISTRIES), texts)
    texts.pop("Dockerfile", None)
    folders = "|".join("/" + name + "/" for name in _FOLDERS_OF_ONE_MACHINE)
    yield from _lines_with(rf"(?<![\w.}}\])])({folders})", texts)


@check
def commands_in_pages_and_messages_exist(repository: Repository) -> Iterator[str]:
    """Each `barograph NAME` in a text is a command of cli/main.py."""
    (commands,) = (
        node.value
        for node in repository.tree("cli/main.py").body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "COMMANDS"
    )
    assert isinstance(commands, ast.Dict)
    known = {ast.literal_eval(key) for key in commands.keys if key is not None}
    for name, text in repository.texts.items():
        if name.endswith((".md", ".py", ".yml", ".yaml", ".toml")):
            # In running text a command is in backticks, in a shell block at the start of a line.
            for match in re.finditer(r"(?:`|^\$ |^)barograph ([a-z][a-z-]*)(?=[ `\n])", text, re.MULTILINE):
                if match[1] not in known:
                    line = text.count("\n", 0, match.start()) + 1
                    yield f"{name}:{line}: no command `barograph {match[1]}`"


@check
def targets_in_pages_exist(repository: Repository) -> Iterator[str]:
    """Each `make NAME` in a text is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", repository.texts["Makefile"], re.MULTILINE))
    for name, text in repository.texts.items():
        if name.endswith((".md", ".py", ".yml")) or name == ".ci/run":
            for target in re.findall(r"(?:`|^|step [a-z]+ )make ([a-z-]+)(?=[ `\n])", text, re.MULTILINE):
                if target not in targets:
                    yield f"{name}: no target `make {target}`"


@check
def links_have_a_target(repository: Repository) -> Iterator[str]:
    """Relative links of pages lead to a file or folder of the repository, and to a heading that exists."""
    folders = {str(parent) for name in repository.names for parent in PurePosixPath(name).parents}
    pages = repository.pages()
    headings = {name: _anchors(text) for name, text in pages.items()}
    for name, text in pages.items():
        for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)", text):
            if re.match(r"[a-z]+:", target):
                continue
            path = posixpath.normpath(posixpath.join(posixpath.dirname(name), target)) if target else name
            if path not in repository.names and path not in folders:
                yield f"{name}: no file {target}"
            elif anchor and path in headings and anchor not in headings[path]:
                yield f"{name}: no heading {target}#{anchor}"


def _anchors(page: str) -> set[str]:
    """List the anchors that GitHub derives from the headings of a page."""
    text = re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@check
def pages_fit_the_site(repository: Repository) -> Iterator[str]:
    """Each page of docs/ is once in the navigation of zensical.toml; the site follows its links and reads its lists."""
    text = repository.texts["zensical.toml"]
    listed = [f"docs/{page}" for page in re.findall(r'"([\w/-]+\.md)"', text)]
    pages = {name: page for name, page in repository.pages().items() if name.startswith("docs/")}
    for name in sorted({*pages, *listed}):
        if (n := listed.count(name)) != 1 or name not in pages:
            yield f"zensical.toml: {name} is {n} times in the navigation" + ("" if name in pages else ", and no page")
    for name, page in pages.items():
        for target in re.findall(r"\]\(([^)#:\s]+)[)#]", page):
            if not posixpath.normpath(posixpath.join(posixpath.dirname(name), target)).startswith("docs/"):
                yield f"{name}: {target} is not on the site: name the file without a link"
        outside = re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)
        for line in re.findall(r"^ {1,3}(?:```|- |\d+\. ).*|(?<=\n\n) {1,3}\S.*", outside, re.MULTILINE):
            yield f"{name}: within a list item, the site needs four spaces before {line.strip()[:40]}"


@check
def pages_in_text_exist(repository: Repository) -> Iterator[str]:
    """Each page and each decision that any file names exists."""
    numbers = {name[15:19] for name in repository.names if name.startswith("docs/decisions/")}
    for name, text in repository.texts.items():
        yield from (
            f"{name}: no {page}" for page in re.findall(r"\bdocs/[\w/-]+\.md", text) if page not in repository.names
        )
        for number in re.findall(r"\bdocs/decisions/(\d{4})", text):
            if number not in numbers:
                yield f"{name}: no decision {number}"


@check
def tests_in_pages_exist(repository: Repository) -> Iterator[str]:
    """Each test file or folder that a page names exists; decision records name those of their time."""
    for name, text in repository.pages().items():
        if not name.startswith("docs/decisions/"):
            for path in re.findall(r"`(tests/[\w/.-]+?)(?:::\w+)?`", text):
                if not any(other == path or other.startswith(f"{path.rstrip('/')}/") for other in repository.names):
                    yield f"{name}: no {path}"


@check
def decisions_are_numbered_and_have_all_parts(repository: Repository) -> Iterator[str]:
    """Decision records are numbered 1, 2, 3, … and have the parts of `DECISION_PARTS`, under one heading."""
    records = [name for name in repository.texts if re.match(r"docs/decisions/\d", name)]
    for i, name in enumerate(records, 1):
        if not re.fullmatch(rf"docs/decisions/{i:04}-[a-z0-9-]+\.md", name):
            yield f"{name}: expected docs/decisions/{i:04}-….md"
        if re.findall(r"^(?:##+ |\*\*)([\w .]+)", repository.texts[name], re.MULTILINE) != DECISION_PARTS:
            yield f"{name}: under one heading, paragraphs begin with **{'**, **'.join(DECISION_PARTS)}**"
        if not re.match(r"# .+\n\n\d{4}-\d\d-\d\d · (Accepted|Superseded|Rejected)\b", repository.texts[name]):
            yield f"{name}: the third line is the date and the status: 2026-12-01 · Accepted"


@check
def shell_scripts_parse_and_fail_on_errors(repository: Repository) -> Iterator[str]:
    """Scripts are executable, stop at the first error, and bash accepts their syntax."""
    for name in SCRIPTS:
        text = repository.texts[name]
        if name not in repository.executables:
            yield f"{name}: not executable"
        if "set -euo pipefail" not in text:
            yield f"{name}: set -euo pipefail is missing"
        result = subprocess.run(["/bin/bash", "-n"], input=text, capture_output=True, text=True, check=False)
        if result.returncode:
            yield f"{name}: {result.stderr.strip()}"


@check
def files_for_contributors_agree_with_the_project(repository: Repository) -> Iterator[str]:
    """Hooks use local tools, forms have unique fields, editors use the Python and the line length of the linters."""
    for source in repository.yaml(".pre-commit-config.yaml")["repos"]:
        for hook in source["hooks"]:
            if (source["repo"], hook["language"]) != ("local", "system") or hook["entry"].split()[
                0
            ] not in repository.names:
                yield f".pre-commit-config.yaml: {hook['id']} downloads a tool, or names none of this repository"
    for name in repository.texts:
        if name.startswith(".github/ISSUE_TEMPLATE/") and not name.endswith("/config.yml"):
            form = repository.yaml(name)
            fields = [field["id"] for field in form["body"]]
            if not form["name"] or not form["description"] or len(fields) != len(set(fields)):
                yield f"{name}: a form has a name, a description and unique fields"
    lowest = repository.project["tool"]["mypy"]["python_version"]
    if repository.texts[".python-version"].strip() != lowest:
        yield f".python-version: expected {lowest}"
    if not repository.project["project"]["requires-python"].startswith(f">={lowest},"):
        yield f"pyproject.toml: requires-python does not begin with {lowest}, the version that mypy checks"
    length = repository.project["tool"]["ruff"]["line-length"]
    if f"max_line_length = {length}" not in repository.texts[".editorconfig"]:
        yield f".editorconfig: expected max_line_length = {length}"
