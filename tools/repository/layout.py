"""The tree, its tests, and the tests of the threat model agree."""

import ast
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from tools.repository.tree import CHECKS, PACKAGES, Repository, check

OTHER_UNIT_TESTS = {"benchmarks", "deploy", "tests", "tools"}
"""Folders of tests/unit whose subject is not a product package."""
_NAMED = re.compile(r"`((?:tests|tools)/[\w/]+\.py)::(\w+)`")
_SKIPPING = re.compile(r"mark\.(skip|skipif|xfail)\b")


@check
def unit_tests_mirror_the_source_tree(repository: Repository) -> Iterator[str]:
    """Each folder of tests/unit has the name of the folder that it tests."""
    folders = {str(parent) for path in repository.product() for parent in PurePosixPath(path).parents}
    for path in repository.python("tests/unit"):
        package, *inner = PurePosixPath(path).relative_to("tests/unit").parent.parts or ("",)
        source = PACKAGES.get("barograph" if package == "client" else package, "")
        if package not in OTHER_UNIT_TESTS and "/".join([source, *inner]) not in folders:
            yield f"{path}: the source has no such folder"


@check
def every_threat_names_tests_that_run(repository: Repository) -> Iterator[str]:
    """Each row of the threat model has an actor, an asset, a bound and tests or checks, none of which is skipped."""
    page = repository.texts["docs/security.md"]
    section = page.partition("\n## Threat model\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 4 or not all(cells) or _NAMED.sub("", cells[-1]).strip(", "):
            yield f"docs/security.md: {line[:80]}: expected actor, asset, bound and tests"
    if len(lines) <= 15:
        yield f"docs/security.md: the threat model has only {len(lines)} rows"
    for path, name in _NAMED.findall(page):
        if name not in _executed(repository, path):
            yield f"docs/security.md: {path}::{name} does not exist, or is skipped"
    undefended = page.partition("\n## What is not defended\n")[2].partition("\n## ")[0]
    if len(re.findall(r"^- \*\*", undefended, re.MULTILINE)) <= 4:
        yield "docs/security.md: say what is not defended"


def _executed(repository: Repository, path: str) -> set[str]:
    """List the checks of a module, or the tests of a file that no marker skips or allows to fail."""
    if path not in repository.texts:
        return set()
    body = repository.tree(path).body
    if path.startswith("tools/"):
        return {node.name for node in body if isinstance(node, ast.FunctionDef)} & CHECKS.keys()
    assignments = [ast.unparse(node) for node in body if isinstance(node, ast.Assign)]
    is_collected = PurePosixPath(path).name.startswith("test_")
    if not is_collected or any(text.startswith("pytestmark = ") and _SKIPPING.search(text) for text in assignments):
        return set()
    return {
        node.name
        for node in body
        if isinstance(node, ast.FunctionDef)
        and node.name.startswith("test_")
        and not any(_SKIPPING.search(ast.unparse(each)) for each in node.decorator_list)
    }
