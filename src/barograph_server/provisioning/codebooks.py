"""Codebooks of topics: their files next to contracts, and which ones `apply` stores."""

import base64
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from pathlib import Path

from barograph.contract import Contract
from barograph.text.codebook import Codebook, load_codebook

from barograph_server.errors import ApplyError
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.tables import insert_rows

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

    Args:
        contracts: the contracts to apply.
        codebooks: the codebooks to apply.
        stored: the ids of stored codebooks.

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
