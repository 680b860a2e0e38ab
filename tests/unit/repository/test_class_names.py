"""A class name stands for one thing in the whole product."""

from __future__ import annotations

import ast
from collections import defaultdict

import pytest

from tests.unit.repository.sources import product_files, tree_of


def definitions(trees: dict[str, ast.Module]) -> dict[str, list[str]]:
    """Each class name with the location of each definition, nested classes included."""
    locations: defaultdict[str, list[str]] = defaultdict(list)
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                locations[node.name].append(f"{path}:{node.lineno}")
    return locations


def repeated(trees: dict[str, ast.Module]) -> dict[str, list[str]]:
    """Names that several modules define, or one module twice. Private names count like public ones."""
    return {name: locations for name, locations in definitions(trees).items() if len(locations) > 1}


def test_no_class_name_is_defined_twice() -> None:
    assert repeated({path: tree_of(path) for path in product_files()}) == {}


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (["class A: ...", "class A: ..."], {"A"}),
        (["class _A: ...", "def f():\n    class _A: ..."], {"_A"}),
        (["class A: ...", "class _A: ..."], set()),
    ],
)
def test_repeated_names_are_reported(sources: list[str], names: set[str]) -> None:
    assert set(repeated({f"{i}.py": ast.parse(source) for i, source in enumerate(sources)})) == names
