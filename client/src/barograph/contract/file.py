"""Reads and checks contract files.

All problems of a file are reported at once, as `FILE:LINE: problem; remedy`.
"""

from __future__ import annotations

import os

from barograph.contract import Contract
from barograph.contract.check import check_failures, with_sources
from barograph.contract.dump import FORMAT_VERSION, dump_contract
from barograph.contract.kinds import Diagnostics, IntegerKind, Key, Path, RecordKind, Unreadable
from barograph.contract.problems import ContractError, Problem
from barograph.contract.sections import build, record_of
from barograph.contract.yaml_nodes import MappingNode, ScalarNode
from barograph.contract.yaml_tree import read_file, read_tree

__all__ = ["ContractError", "dump_contract", "load_contract", "parse_contract"]

_FORMAT = Key(
    "contract", IntegerKind(1, 10_000), "The version of this file's format.", str(FORMAT_VERSION), required=True
)


def load_contract(path: str | os.PathLike[str]) -> Contract:
    """Read and check a contract file.

    Raises:
        ContractError: The file cannot be read or is not a valid contract; `problems` lists every problem.
    """
    return parse_contract(read_file(path, "a contract"), os.fspath(path))


def parse_contract(text: str | bytes, name: str = "contract.yaml") -> Contract:
    """Read and check the text of a contract file.

    Args:
        name: The file's name in messages.

    Raises:
        ContractError: The text is not a valid contract; `problems` lists every problem in order of lines.
    """
    tree = read_tree(text, name)
    if not isinstance(tree, MappingNode):
        message = f"this is not a contract; begin with contract: {FORMAT_VERSION} and model: NAME"
        raise ContractError([Problem(name, 1, message)])
    _check_format(tree, name)
    diagnostics = Diagnostics(name)
    contract = with_sources(build(Contract, contract_record().read(tree, (), diagnostics)))
    for failure in check_failures(contract):
        if not _is_void((failure.path, *failure.needs), diagnostics.failed):
            diagnostics.fail(failure.path, _line((failure.path, *failure.needs), diagnostics), failure.message)
    if diagnostics.problems:
        raise ContractError(sorted(diagnostics.problems, key=lambda problem: problem.line))
    return contract


def _check_format(tree: MappingNode, name: str) -> None:
    """Reject a format version that this code does not know: it cannot check the rest of such a file."""
    for key, value in tree.pairs:
        if key.text != _FORMAT.name or not isinstance(value, ScalarNode):
            continue
        try:
            version = _FORMAT.kind.read(value, (), Diagnostics(name))
        except Unreadable:
            return  # reported with the other problems
        if version != FORMAT_VERSION:
            remedy = f"write {FORMAT_VERSION}, or install a newer barograph"
            message = f"contract: the format {version} is unknown; {remedy}"
            raise ContractError([Problem(name, value.line, message)])


def _is_void(paths: tuple[Path, ...], failed: set[Path]) -> bool:
    """Whether a failed check depends on a value that is unreadable, or that contains or is part of one."""
    return any(bad[: len(path)] == path or path[: len(bad)] == bad for path in paths for bad in failed)


def _line(paths: tuple[Path, ...], diagnostics: Diagnostics) -> int:
    """Return the line to report: of the first path that is in the file, else of the first path's nearest parent."""
    for path in paths:
        if path in diagnostics.lines:
            return diagnostics.lines[path]
    path = paths[0]
    while path not in diagnostics.lines and path:
        path = path[:-1]
    return diagnostics.lines.get(path, 1)


def contract_record() -> RecordKind:
    """Return the keys of the contract file."""
    return RecordKind((_FORMAT, *record_of(Contract).keys))
