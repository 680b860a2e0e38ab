"""The command lines of `barograph codebook`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
import typer
from barograph.text.codebook import NEW, Codebook
from barograph.text.embedding import Vectors

from barograph_server.cli.options import JsonOption, help_text
from barograph_server.errors import CommandError
from barograph_server.settings import EMBEDDINGS_KEY_VARIABLE
from barograph_server.terminal import AlignedTable, Terminal, one_line

if TYPE_CHECKING:
    from barograph.text.embedding import EmbeddingName

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


codebook_app = typer.Typer(add_completion=False, no_args_is_help=True)

_Texts = Annotated[
    Path | None,
    typer.Argument(
        metavar="TEXTS", help='A JSON object per line, with the member "prompt" or "text".', show_default=False
    ),
]
_Out = Annotated[Path, typer.Option("--out", metavar="FILE", help="The codebook to write.", show_default=False)]
_Vectors = Annotated[
    Path | None,
    typer.Option(
        "--vectors", metavar="FILE", help="Embeddings of your own: a npy file, a row per text.", show_default=False
    ),
]
_Endpoint = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        metavar="URL",
        help=f"Embed with OpenAI's API at a URL such as http://127.0.0.1:8080/v1; key in {EMBEDDINGS_KEY_VARIABLE}.",
        show_default=False,
    ),
]
_Embedding = Annotated[
    str | None,
    typer.Option(
        "--embedding",
        metavar="NAME[@VERSION]",
        help="Name of the embedding of --vectors or --endpoint.",
        show_default=False,
    ),
]


@codebook_app.callback()
def codebook_group() -> None:
    """Train, show and name codebooks, which assign topics to prompts."""


def train_command(
    out: _Out,
    texts: _Texts = None,
    clusters: Annotated[int, typer.Option("--clusters", metavar="N", help="How many topics.")] = 32,
    vectors: _Vectors = None,
    endpoint: _Endpoint = None,
    embedding: _Embedding = None,
    quantile: Annotated[
        float,
        typer.Option(
            metavar="Q", help="Share of held-out texts within the threshold; the rest of the same traffic is `new`."
        ),
    ] = 0.99,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the split and of the first centroids.")] = 0,
    show: Annotated[int, typer.Option("--show", metavar="N", help="Print the N nearest texts of each topic.")] = 0,
) -> None:
    """Train a codebook: centroids of the embeddings of texts, and the distance from which a text is `new`.

    A fifth of the texts is held out and only sets that distance. The file contains no text. Equal arguments give an
    equal file. Write the id that is printed into the contract: `text: {codebook: ID}`.

    Examples:
        barograph codebook train prompts.jsonl --clusters 32 --out support-bot.codebook.npz
        barograph codebook train --vectors prompts.npy --embedding my-model@3 --out support-bot.codebook.npz
    """
    from barograph.text.training import train_codebook

    if show:
        _need_texts(texts)
    read, rows, name = _embed(texts, vectors, endpoint, embedding)
    codebook = train_codebook(rows, name, n_clusters=clusters, seed=seed, quantile=quantile)
    _write(codebook, out)
    terminal = Terminal()
    print_codebook(terminal, codebook)
    if show:
        print_nearest(terminal, codebook, read, rows, show)
    terminal.line(f"Wrote {out}. Contracts name it by its id: text: {{codebook: {codebook.id}}}")


def show_command(
    codebook: Annotated[Path, typer.Argument(metavar="CODEBOOK", help="A codebook.", show_default=False)],
    texts: _Texts = None,
    vectors: _Vectors = None,
    endpoint: _Endpoint = None,
    show: Annotated[int, typer.Option("--show", metavar="N", help="Print the N nearest texts of each topic.")] = 3,
    as_json: JsonOption = False,
) -> None:
    """Show a codebook; with texts, also the share of each topic among them, and its nearest texts.

    Examples:
        barograph codebook show support-bot.codebook.npz
        barograph codebook show support-bot.codebook.npz prompts.jsonl --show 5
    """
    from barograph.text.codebook import load_codebook

    if vectors is not None or endpoint is not None:
        _need_texts(texts)
    loaded = load_codebook(codebook)
    terminal = Terminal()
    if as_json:
        terminal.json(codebook_json(loaded))
        return
    print_codebook(terminal, loaded)
    if texts is not None:
        trained = loaded.header.embedding
        read, rows, name = _embed(texts, vectors, endpoint, f"{trained.name}@{trained.version}")
        if name != trained:
            raise CommandError(
                f"The codebook was trained with {trained.name} {trained.version}, and the texts are embedded with "
                f"{name.name} {name.version}: use --endpoint or --vectors of that embedding."
            )
        print_nearest(terminal, loaded, read, rows, show)


def name_command(
    codebook: Annotated[Path, typer.Argument(metavar="CODEBOOK", help="A codebook.", show_default=False)],
    names: Annotated[
        Path,
        typer.Argument(metavar="NAMES", help="YAML: `names: {t0: billing, t7: refunds}`.", show_default=False),
    ],
    out: _Out,
) -> None:
    """Write a codebook whose topics have names that you choose. It has another id.

    Names are categories in events: a new name is `unseen` until the baseline has it, so choose names first.

    Examples:
        barograph codebook name trained.npz names.yaml --out support-bot.codebook.npz
    """
    from barograph.text.codebook import load_codebook

    from barograph_server.profiling.codebook_table import read_names

    renamed = load_codebook(codebook).renamed(read_names(names))
    _write(renamed, out)
    print_codebook(Terminal(), renamed)


def _embed(
    texts: Path | None, vectors: Path | None, endpoint: str | None, embedding: str | None
) -> tuple[list[str], Vectors, EmbeddingName]:
    """Return texts, their vectors, and the embedding that made them; no texts if there are only vectors."""
    import os

    from barograph.text.embedding import EmbeddingName, EndpointEncoder, SentenceEncoder

    from barograph_server.profiling.codebook_table import read_texts, read_vectors

    if vectors is None:
        _need_texts(texts)
    if vectors is not None and endpoint is not None:
        raise CommandError("--vectors are embeddings, and --endpoint makes them: use one of them.")
    name, _, version = (embedding or "").partition("@")
    if not name and (vectors is not None or endpoint is not None):
        raise CommandError(
            "Name the embedding with --embedding NAME@VERSION: vectors of different ones do not compare."
        )
    if vectors is not None:
        rows = read_vectors(vectors)
        read = [] if texts is None else read_texts(texts)
        if read and len(read) != len(rows):
            raise CommandError(f"{vectors} has {len(rows):,} rows, and {texts} has {len(read):,} different texts.")
        return read, rows, EmbeddingName(name, version, rows.shape[1])
    assert texts is not None
    read = read_texts(texts)
    if endpoint is not None:
        rows = EndpointEncoder(endpoint, name, os.environ.get(EMBEDDINGS_KEY_VARIABLE, "")).encode(read)
        return read, rows, EmbeddingName(name, version, rows.shape[1])
    return read, SentenceEncoder().encode(read), SentenceEncoder.name()


def _need_texts(texts: object) -> None:
    if not texts:
        raise CommandError("Name a file of texts: a JSON object per line, with the member prompt.")


def _write(codebook: Codebook, path: Path) -> None:
    from barograph_server.file_writes import replace_file

    try:
        replace_file(path, codebook.dump())
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {(error.strerror or str(error)).lower()}.") from error


for _command, _function in (("train", train_command), ("show", show_command), ("name", name_command)):
    codebook_app.command(_command, help=help_text(_function))(_function)
