"""Where contract and baseline are written, and when they are not."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from barograph.contract import Contract
from barograph.contract.file import ContractError, dump_contract, load_contract

from cli.infer.errors import ExistsError
from cli.infer.infer import InferResult
from sketches.baseline.baseline import dump_baseline

_UNSAFE = frozenset('%/\\:*?"<>|')
"""Not allowed in file names somewhere, or with a meaning to shells; and `%` itself, which escapes them."""
_MAX_NAME_BYTES = 100
"""Of one part of a file name: file systems take 255 bytes in all."""


@dataclass(frozen=True, slots=True)
class Written:
    """The two files, and which of them stood there already with the same content."""

    contract: Path
    baseline: Path
    unchanged: frozenset[Path]


def write_result(result: InferResult, folder: Path, *, force: bool = False) -> Written:
    """Write contract and baseline; both or neither.

    Args:
        result: What was learned.
        folder: Made where it is missing.
        force: Whether files of another content are replaced.

    Raises:
        ExistsError: a file of another content stands there and `force` is not given.
        OSError: the folder cannot be written.
    """
    model = file_part(result.contract.model, dots=False)
    contract_path = folder / f"{model}.yaml"
    baseline_path = folder / f"{model}.{file_part(result.baseline.version)}.baseline.json"
    comments = (
        f"Written by `barograph infer` from {' '.join(result.baseline.source.split())}.\n"
        "Yours to edit: owners, critical fields, ranges, thresholds, route."
    )
    expected = {
        contract_path: dump_contract(result.contract, comments).encode(),
        baseline_path: dump_baseline(result.baseline),
    }
    folder.mkdir(parents=True, exist_ok=True)
    unchanged = {path for path, data in expected.items() if path.exists() and path.read_bytes() == data}
    if contract_path.exists() and _holds(contract_path, result.contract):
        unchanged.add(contract_path)
    for path in expected:
        if path.exists() and path not in unchanged and not force:
            raise ExistsError(
                f"{path} exists and differs from what was inferred; move it away, write to another folder "
                "with --out, or replace it with --force"
            )
    for path, data in expected.items():
        if path not in unchanged:
            _replace(path, data)
    return Written(contract_path, baseline_path, frozenset(unchanged))


def file_part(name: str, *, dots: bool = True) -> str:
    """Write a name as part of a file name, another one for every name: unsafe characters percent-encoded.

    Args:
        name: Any text.
        dots: Whether dots stay as they are; without, the part ends at a file name's first dot.
    """
    unsafe = _UNSAFE if dots else _UNSAFE | {"."}
    encoded = "".join(
        "".join(f"%{byte:02X}" for byte in char.encode()) if char in unsafe or not char.isprintable() else char
        for char in name
    )
    if len(encoded.encode()) <= _MAX_NAME_BYTES:
        return encoded
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    start = encoded.encode()[: _MAX_NAME_BYTES - 20].decode(errors="ignore")
    # A lone `%` cannot come out of encoding, so no other name gives the same part.
    return f"{start}%~{digest}"


def _holds(path: Path, contract: Contract) -> bool:
    try:
        return load_contract(path) == contract
    except ContractError:
        return False


def _replace(path: Path, data: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one."""
    draft = path.with_name(f".{hashlib.sha256(path.name.encode()).hexdigest()[:16]}.{os.getpid()}.part")
    try:
        draft.write_bytes(data)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
