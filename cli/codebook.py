"""The command lines of `barograph codebook`."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from barograph.text.codebook import NEW, Codebook, load_codebook
from barograph.text.embedding import EmbeddingName, EndpointEncoder, SentenceEncoder, Vectors

from barograph_server.cli.options import Arg, CommandGroup, Opt, Options, Output
from barograph_server.errors import CommandError
from barograph_server.file_writes import replace_file
from barograph_server.plain_values import plain
from barograph_server.profiling.codebook_table import read_names, read_texts, read_vectors
from barograph_server.settings import EMBEDDINGS_KEY_VARIABLE
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


def print_nearest(terminal: Terminal, codebook: Codebook, texts: Sequence[str], vectors: Vectors, n: int) -> None:
    """Print the share of each topic among texts, and its nearest texts."""
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


codebook_app = CommandGroup()

_Out = Annotated[Path, Opt("The codebook to write.", "FILE")]
_Codebook = Annotated[Path, Arg("Its file, such as support-bot.codebook.npz.", "CODEBOOK")]


class Texts(Options, frozen=True):
    """Texts with their embeddings."""

    texts: Annotated[Path | None, Arg('A JSON object per line, with the member "prompt" or "text".', "TEXTS")] = None
    vectors: Annotated[Path | None, Opt("Embeddings of your own: a npy file, a row per text.", "FILE")] = None
    endpoint: Annotated[
        str | None,
        Opt(
            f"Embed with OpenAI's API at a URL such as http://127.0.0.1:8080/v1; key in {EMBEDDINGS_KEY_VARIABLE}.",
            "URL",
        ),
    ] = None

    def need_texts(self) -> None:
        """Check that a file of texts is named."""
        if self.texts is None:
            raise CommandError("Name a file of texts: a JSON object per line, with the member prompt.")

    def embed(self, embedding: str | None) -> tuple[list[str], Vectors, EmbeddingName]:
        """Return texts, their vectors, and the embedding that made them; no texts if there are only vectors."""
        if self.vectors is None:
            self.need_texts()
        if self.vectors is not None and self.endpoint is not None:
            raise CommandError("--vectors are embeddings, and --endpoint makes them: use one of them.")
        name, _, version = (embedding or "").partition("@")
        if not name and (self.vectors is not None or self.endpoint is not None):
            raise CommandError(
                "Name the embedding with --embedding NAME@VERSION: vectors of different ones do not compare."
            )
        read = [] if self.texts is None else read_texts(self.texts)
        if self.vectors is not None:
            rows = read_vectors(self.vectors)
            if read and len(read) != len(rows):
                raise CommandError(
                    f"{self.vectors} has {len(rows):,} rows, and {self.texts} has {len(read):,} different texts."
                )
        elif self.endpoint is not None:
            rows = EndpointEncoder(self.endpoint, name, os.environ.get(EMBEDDINGS_KEY_VARIABLE, "")).encode(read)
        else:
            return read, SentenceEncoder().encode(read), SentenceEncoder.name()
        return read, rows, EmbeddingName(name, version, rows.shape[1])


@codebook_app.add("train")
def train_command(
    texts: Texts,
    out: _Out,
    embedding: Annotated[str | None, Opt("Name of the embedding of --vectors or --endpoint.", "NAME[@VERSION]")] = None,
    clusters: Annotated[int, Opt("How many topics.", "N")] = 32,
    quantile: Annotated[
        float, Opt("Share of held-out texts within the threshold; the rest of the same traffic is `new`.", "Q")
    ] = 0.99,
    seed: Annotated[int, Opt("Of the split and of the first centroids.", "N")] = 0,
    show: Annotated[int, Opt("Print the N nearest texts of each topic.", "N")] = 0,
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
        texts.need_texts()
    read, rows, name = texts.embed(embedding)
    codebook = train_codebook(rows, name, n_clusters=clusters, seed=seed, quantile=quantile)
    _write(codebook, out)
    terminal = Terminal()
    print_codebook(terminal, codebook)
    if show:
        print_nearest(terminal, codebook, read, rows, show)
    terminal.line(f"Wrote {out}. Contracts name it by its id: text: {{codebook: {codebook.id}}}")


@codebook_app.add("show")
def show_command(
    texts: Texts,
    output: Output,
    codebook: _Codebook,
    show: Annotated[int, Opt("Print the N nearest texts of each topic.", "N")] = 3,
) -> None:
    """Show a codebook; with texts, also the share of each topic among them, and its nearest texts.

    Examples:
        barograph codebook show support-bot.codebook.npz
        barograph codebook show support-bot.codebook.npz prompts.jsonl --show 5
    """
    if texts.vectors is not None or texts.endpoint is not None:
        texts.need_texts()
    loaded = load_codebook(codebook)
    terminal = Terminal()
    if output.is_json:
        terminal.json({"id": loaded.id, **plain(loaded.header)})
        return
    print_codebook(terminal, loaded)
    if texts.texts is not None:
        trained = loaded.header.embedding
        read, rows, name = texts.embed(f"{trained.name}@{trained.version}")
        if name != trained:
            raise CommandError(
                f"The codebook was trained with {trained.name} {trained.version}, and the texts are embedded with "
                f"{name.name} {name.version}: use --endpoint or --vectors of that embedding."
            )
        print_nearest(terminal, loaded, read, rows, show)


@codebook_app.add("name")
def name_command(
    codebook: _Codebook, names: Annotated[Path, Arg("YAML: `names: {t0: billing, t7: refunds}`.", "NAMES")], out: _Out
) -> None:
    """Write a codebook whose topics have names that you choose. It has another id.

    Names are categories in events: a new name is `unseen` until the baseline has it, so choose names first.

    Examples:
        barograph codebook name trained.npz names.yaml --out support-bot.codebook.npz
    """
    renamed = load_codebook(codebook).renamed(read_names(names))
    _write(renamed, out)
    print_codebook(Terminal(), renamed)


def _write(codebook: Codebook, path: Path) -> None:

    try:
        replace_file(path, codebook.dump())
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {(error.strerror or str(error)).lower()}.") from error
