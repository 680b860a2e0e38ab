"""Writes contract and baseline, and protects existing files."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from barograph.contract import Contract, LabelSpec
from barograph.contract.file import ContractError, dump_contract, load_contract

from barograph_server.file_writes import replace_file
from barograph_server.profiling.infer.errors import ExistsError
from barograph_server.sketches.baseline.baseline import Baseline, dump_baseline

_UNSAFE = frozenset('%/\\:*?"<>|')
"""Characters that some file system forbids or shells interpret, and `%`, which escapes them."""
_MAX_NAME_BYTES = 100
"""Maximum length of one part of a file name; file systems allow 255 bytes in total."""


@dataclass(frozen=True, slots=True)
class WrittenFiles:
    """The two files, and which of them existed with the same content."""

    contract: Path
    baseline: Path
    unchanged: frozenset[Path]


def write_files(
    contract: Contract,
    baseline: Baseline,
    folder: Path,
    notes: Sequence[str] = (),
    *,
    force: bool = False,
    replaces: Contract | None = None,
) -> WrittenFiles:
    """Write contract and baseline; both or neither.

    Args:
        folder: The output folder, created if it is missing.
        notes: Further comments at the top of the contract.
        force: Whether to overwrite files with different content.
        replaces: The contract in force, whose file is overwritten: the new contract has all its keys.

    Raises:
        ExistsError: a file exists with different content and `force` is false.
        OSError: the folder cannot be written.
    """
    model = escape_name(contract.model, dots=False)
    contract_path = folder / f"{model}.yaml"
    baseline_path = folder / f"{model}.{escape_name(baseline.version)}.baseline.json"
    comments = (
        f"Written by `barograph infer` from {' '.join(baseline.source.split())}.\n"
        "Edit it as needed: owners, critical fields, ranges, thresholds, route."
        + "".join(f"\n{note}" for note in notes)
    )
    if contract.label is not None and contract.label.threshold != LabelSpec(type="bool").threshold:
        comments += "\nThe label's threshold is the score from which on the class column is the positive class."
    expected = {contract_path: dump_contract(contract, comments).encode(), baseline_path: dump_baseline(baseline)}
    folder.mkdir(parents=True, exist_ok=True)
    unchanged = {path for path, data in expected.items() if path.exists() and path.read_bytes() == data}
    if contract_path.exists() and _matches_contract(contract_path, contract):
        unchanged.add(contract_path)
    for path in expected:
        is_replaced = path == contract_path and replaces is not None and _matches_contract(path, replaces)
        if path.exists() and path not in unchanged and not (force or is_replaced):
            raise ExistsError(
                f"{path} exists with different content; move it, write to another folder with --out, or overwrite it "
                "with --force"
            )
    for path, data in expected.items():
        if path not in unchanged:
            replace_file(path, data)
    return WrittenFiles(contract_path, baseline_path, frozenset(unchanged))


def escape_name(name: str, *, dots: bool = True) -> str:
    """Encode a name as a unique part of a file name: unsafe characters are percent-encoded.

    Args:
        dots: Whether dots are kept; if not, the first dot of the file name ends this part.
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
    # Encoding never produces a lone `%`, so no other name has the same part.
    return f"{start}%~{digest}"


def _matches_contract(path: Path, contract: Contract) -> bool:
    try:
        return load_contract(path) == contract
    except ContractError:
        return False
