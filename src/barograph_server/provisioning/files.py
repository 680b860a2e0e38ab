"""The input files of `plan` and `apply`: contracts, and the baselines next to them."""

import base64
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from pathlib import Path

from barograph.contract import Contract
from barograph.contract.file import load_contract
from barograph.text.codebook import Codebook, load_codebook

from barograph_server.errors import ApplyError
from barograph_server.sketches.baseline.baseline import Baseline, load_baseline
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.queries import PREFIX, is_drill
from barograph_server.warehouse.tables import insert_rows

BASELINE_ENDING = ".baseline.json"


def read_inputs(
    contracts: Sequence[Path], baselines: Sequence[Path] | None = None, codebooks: Sequence[Path] | None = None
) -> tuple[list[tuple[Contract, str]], list[Baseline], list[Codebook]]:
    """Read contract files, each with its text, and files of baselines and codebooks.

    Without files of a kind, those next to the contracts are read, as `find_baselines` and `read_codebooks` find them.

    Raises:
        ApplyError: a baseline file cannot be read.
        BaselineError: a file is not a baseline.
        ContractError: a file cannot be read or is not a contract.
        TextError: a file is not a codebook.
    """
    pairs = read_contracts(contracts)
    located = [(path, pair[0]) for path, pair in zip(contracts, pairs, strict=True)]
    return pairs, read_baselines(baselines or find_baselines(located)), read_codebooks(located, codebooks)


def read_contracts(paths: Sequence[Path]) -> list[tuple[Contract, str]]:
    """Read contract files, each with its text.

    Raises:
        ApplyError: a model has a name of the models of drills.
        ContractError: a file cannot be read or is not a contract.
    """
    pairs = [(load_contract(path), path.read_text(encoding="utf-8")) for path in paths]
    for path, (contract, _) in zip(paths, pairs, strict=True):
        if is_drill(contract.model):
            raise ApplyError(
                f"{path}: the model is called {contract.model}, and names that begin with {PREFIX} belong to drills; "
                "rename the model."
            )
    return pairs


def read_baselines(paths: Sequence[Path]) -> list[Baseline]:
    """Read baseline files.

    Raises:
        ApplyError: a file cannot be read.
        BaselineError: a file is not a baseline.
    """
    result = []
    for path in paths:
        try:
            data = path.read_bytes()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ApplyError(f"The baseline {path} cannot be read: {reason}.") from error
        result.append(load_baseline(data, str(path)))
    return result


def find_baselines(contracts: Sequence[tuple[Path, Contract]]) -> list[Path]:
    """Find files `MODEL.VERSION.baseline.json` next to each contract that contain a baseline of its model.

    `MODEL` is the name of the model, or of the contract's file without extension.
    """
    result: dict[Path, None] = {}
    for path, contract in contracts:
        for candidate in sorted(path.parent.glob(f"*{BASELINE_ENDING}")):
            named_for = candidate.name.startswith((f"{contract.model}.", f"{path.stem}."))
            if named_for and load_baseline(candidate.read_bytes(), str(candidate)).model == contract.model:
                result[candidate] = None
    return list(result)


CODEBOOK_ENDING = ".codebook.npz"


def read_codebooks(contracts: Sequence[tuple[Path, Contract]], files: Sequence[Path] | None = None) -> list[Codebook]:
    """Read codebooks; without files, those next to contracts whose file ends with `.codebook.npz` and that they name.

    Raises:
        TextError: a file is not a codebook.
    """
    if files:
        return [load_codebook(file) for file in files]
    load = cache(load_codebook)
    matches: dict[str, Codebook] = {}
    for path, contract in contracts:
        named = "" if contract.text is None else contract.text.codebook
        if named and named not in matches:
            candidates = map(load, sorted(path.parent.glob(f"*{CODEBOOK_ENDING}")))
            matches.update({each.id: each for each in candidates if each.id == named})
    return list(matches.values())


def plan_codebooks(
    contracts: Iterable[Contract], codebooks: Sequence[Codebook], stored: Collection[str]
) -> list[Codebook]:
    """Find the codebooks that are not stored yet.

    Raises:
        ApplyError: a contract names a codebook that is neither given nor stored.
    """
    known = {codebook.id for codebook in codebooks} | set(stored)
    for contract in contracts:
        named = "" if contract.text is None else contract.text.codebook
        if named and named not in known:
            raise ApplyError(
                f"The contract of {contract.model} names the codebook {named}, which is not stored and not next to the "
                f"contract (*{CODEBOOK_ENDING}): name its file with --codebook, or correct text.codebook."
            )
    return [codebook for codebook in codebooks if codebook.id not in stored]


def store_codebooks(client: Client, codebooks: Iterable[Codebook], applied_ms: int) -> None:
    """Store codebooks with the current time (`applied_ms`, Unix milliseconds)."""
    rows = [
        {
            "codebook_id": codebook.id,
            "embedding": f"{codebook.header.embedding.name} {codebook.header.embedding.version}".strip(),
            "topics": list(codebook.header.names),
            "threshold": codebook.header.threshold,
            "body": base64.b64encode(codebook.dump()).decode(),
            "applied_at": applied_ms,
        }
        for codebook in codebooks
    ]
    insert_rows(client, "codebooks", rows)
