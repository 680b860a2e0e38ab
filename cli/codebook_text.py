"""Terminal output of a codebook: its header, and on request the texts nearest to each topic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from barograph.text.codebook import NEW, Codebook
from barograph.text.embedding import Vectors

from barograph_server.terminal import AlignedTable, Terminal, one_line

SHOWN_CHARS = 100


def print_codebook(terminal: Terminal, codebook: Codebook) -> None:
    """Print id, embedding, threshold and topics."""
    header = codebook.header
    terminal.lines(
        (
            f"codebook   {codebook.id}",
            f"embedding  {header.embedding.name} {header.embedding.version}, {header.embedding.dimensions} dimensions",
            f"topics     {len(header.names)}: {', '.join(header.names)}",
            f"threshold  {header.threshold:.4f}, the {header.quantile:.1%} quantile of {header.n_held_out:,} held-out "
            f"texts; {header.n_training:,} training texts, seed {header.seed}",
        )
    )


def codebook_json(codebook: Codebook) -> dict[str, Any]:
    """Return the header and the id, for `--json`."""
    return {"id": codebook.id, **msgspec.to_builtins(codebook.header)}


def print_nearest(terminal: Terminal, codebook: Codebook, texts: Sequence[str], vectors: Vectors, n: int) -> None:
    """Print the share of each topic among texts, and its nearest texts.

    Args:
        terminal: where to print.
        codebook: the codebook.
        texts: the texts.
        vectors: a row per text.
        n: how many texts of each topic.
    """
    topics = codebook.assign(vectors)
    names = np.array(topics.names)
    table = AlignedTable("topic", "texts", "share", "distance", "text", numbers=("texts", "share", "distance"))
    for name in (*codebook.header.names, NEW):
        members = np.flatnonzero(names == name)
        nearest = members[np.argsort(topics.distances[members], kind="stable")][:n]
        count, share = f"{len(members):,}", f"{len(members) / len(texts):.1%}"
        if not len(nearest):
            table.row(name, count, share, "", "")
        for i, member in enumerate(nearest.tolist()):
            first = (name, count, share) if i == 0 else ("", "", "")
            table.row(*first, f"{topics.distances[member]:.3f}", one_line(texts[member])[:SHOWN_CHARS])
    terminal.table(table)
