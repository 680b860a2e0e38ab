"""The command lines of `barograph review`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from barograph_server.cli.options import Arg, CommandGroup, Connection, Model, Opt, Options, Output
from barograph_server.errors import CommandError
from barograph_server.evaluation.rates import SHOWN_ERRORS, label_errors_text
from barograph_server.file_writes import replace_file
from barograph_server.signal_wait import wait_for_signal
from barograph_server.sketches.judges.agreement import LEAST_ITEMS
from barograph_server.sketches.judges.label_errors import LabelErrors
from barograph_server.terminal import TableColumn, Terminal, percentage, picked, plural
from barograph_server.times import parse_since
from barograph_server.warehouse.client import connect
from barograph_server.warehouse.evaluation.review_queue import GOLD_SHARE, LEARNING_SHARE, read_queue
from barograph_server.warehouse.evaluation.reviews import (
    ReviewAgreement,
    read_label_errors,
    read_reviews,
    review_agreement,
    store_reviews,
    unsent_gold,
)

MAX_LISTED = 50
"""Disagreements that are printed; `--format json` has all."""


_DISAGREEMENTS = (
    TableColumn("id"),
    TableColumn("version"),
    TableColumn("labels", format=lambda labels: ", ".join(f"{name}: {label}" for name, label in labels.items())),
)
_WEEKS = (
    TableColumn("reviewer"),
    TableColumn("week", format=lambda week: week.isoformat()),
    TableColumn("labels", format=","),
    TableColumn(lambda week: _share(week.faulty, week.labels - week.unsure), "faulty", is_number=True),
    TableColumn(lambda week: _share(week.unsure, week.labels), "unsure", is_number=True),
)


def _share(part: int, whole: int) -> str:
    return percentage(part / whole) if whole else "-"


def agreement_values(result: ReviewAgreement, _: str, errors: LabelErrors) -> dict[str, Any]:
    """Return what programs read."""
    values = picked(result, "labels", "reviewers", "agreement", "disagreements", "weeks")
    return {**values, "label_errors": picked(errors, *SHOWN_ERRORS)}


def print_agreement(terminal: Terminal, result: ReviewAgreement, evaluator_model: str, errors: LabelErrors) -> None:
    """Print alpha, how often people are wrong, the answers with different labels, and each reviewer's weeks."""
    terminal.line(
        f"{evaluator_model}: {plural(result.labels, 'label')} of {plural(len(result.reviewers), 'reviewer')}", "bold"
    )
    agreement = result.agreement
    if agreement.items == 0:
        terminal.line("No answer has two labels yet: let a second person run `barograph review serve`.")
    else:
        interval = (
            f"interval {agreement.low:.2f} to {agreement.high:.2f}"
            if agreement.low == agreement.low
            else f"no interval: it needs {LEAST_ITEMS} answers with equal labels and {LEAST_ITEMS} with different ones"
        )
        alpha = f"{agreement.alpha:.2f}" if agreement.alpha == agreement.alpha else "undefined: all labels are the same"
        terminal.line(f"alpha {alpha} ({interval}), {plural(agreement.items, 'answer')} with two labels")
    terminal.line(label_errors_text(evaluator_model, errors))
    if result.disagreements:
        terminal.line()
        terminal.line(f"{plural(len(result.disagreements), 'answer')} with different labels:")
        terminal.rows(result.disagreements[:MAX_LISTED], _DISAGREEMENTS)
    if result.weeks:
        terminal.line()
        terminal.rows(result.weeks, _WEEKS)


review_app = CommandGroup()


class Evaluated(Options, frozen=True):
    model: Model
    evaluator: Annotated[str, Opt("Its evaluator, as the contract names it.", "NAME")]


class Choice(Options, frozen=True):
    share: Annotated[float | None, Opt("Probability of a choice. Default: 0.01 for gold, 1 for learning.", "SHARE")] = (
        None
    )
    purpose: Annotated[
        Literal["gold", "learning"],
        Opt("gold: at random, for the rate; learning: uncertain and disagreeing answers.", name="--for"),
    ] = "gold"
    since: Annotated[str, Opt("Start of the answers' event time: a time, or how long ago.", "TIME")] = "30d"

    def check_share(self) -> float:
        """Return the probability, checked."""
        from barograph_server.evaluation.review.evaluator import check_share

        default = GOLD_SHARE if self.purpose == "gold" else LEARNING_SHARE
        return check_share("--share", default if self.share is None else self.share)


@review_app.add("serve")
def serve_command(
    evaluated: Evaluated,
    choice: Choice,
    connection: Connection,
    reviewer: Annotated[str, Opt("Your name, stored with each label.", "NAME", name="--as")],
    second_share: Annotated[float, Opt("Share of the answers that two people review.", "SHARE")] = 0.1,
    port: Annotated[int, Opt("Port on 127.0.0.1; 0: any free one.", min=0, max=65_535)] = 0,
    documents: Annotated[
        Path | None, Opt("Documents that answers cite: the page shows the cited passages.", "FOLDER")
    ] = None,
) -> None:
    """Serve a page on this machine on which you label answers with single keys, until Ctrl-C.

    Each label is stored at once. Labels of the random part (`--for gold`) also become labels of the evaluator's model,
    ten seconds later, so that `barograph evaluations` corrects its rates by them: they count as truth, until twenty
    answers have labels of two people. The page has no login: everybody who
    can reach the port on this machine labels under your name.

    Examples:
        barograph review serve --model support-bot --evaluator cited --as ana
        barograph review serve --model support-bot --evaluator cited --as ana --for learning --documents documents/
    """
    from barograph_server.evaluation.review.evaluator import (
        check_reviewer,
        check_share,
        find_evaluator,
        print_sending,
        print_start,
    )
    from barograph_server.evaluation.review.gold_labels import GoldLabels
    from barograph_server.evaluation.review.server import ReviewServer
    from barograph_server.streams.evaluator.check_evaluators import read_documents
    from barograph_server.streams.evaluator.checks.documents import DocumentSet

    now = datetime.now(UTC)
    start = parse_since("--since", choice.since, now)
    reviewer = check_reviewer(reviewer)
    share = choice.check_share()
    check_share("--second-share", second_share, least_is_zero=True)
    if documents is not None and not documents.is_dir():
        raise CommandError(f"--documents {documents} is not a folder: name one with the files .md and .txt.")
    cited = None if documents is None else DocumentSet(read_documents(documents, lambda _: None))
    is_gold = choice.purpose == "gold"
    settings = connection.settings(*(("kafka", "clickhouse") if is_gold else ("clickhouse",)))
    with connect(settings.warehouse) as client:
        source, contract = find_evaluator(client, evaluated.model, evaluated.evaluator, start, now)
        reviews = read_reviews(client, source.evaluator_model)
        queue = read_queue(client, source, reviews, reviewer, choice.purpose, share, second_share)
        store_reviews(client, queue.adopted)
        unsent = unsent_gold(client, source.evaluator_model, reviewer) if is_gold else []
    gold = GoldLabels(contract, settings)
    for each in unsent:
        gold.add(each)
    terminal = Terminal()
    server = ReviewServer(settings.warehouse, source, queue.items, reviewer, gold, documents=cited, port=port)
    with wait_for_signal() as wait:
        with server:
            print_start(terminal, server.url, queue, len(unsent))
            wait()
        print_sending(terminal, server.labelled, gold)


_Format = Annotated[
    Literal["csv", "label-studio"], Opt("csv, or label-studio: the JSON of Label Studio.", name="--format")
]


@review_app.add("export")
def export_command(
    evaluated: Evaluated,
    choice: Choice,
    connection: Connection,
    path: Annotated[Path, Arg("The file to write.", "FILE")],
    file_format: _Format,
) -> None:
    """Write all labels of an evaluator, and the chosen answers that need more, with their texts.

    The file has prompts and answers as they are stored: treat it as personal data.

    Examples:
        barograph review export gold.csv --model support-bot --evaluator cited --format csv --share 0.05
        barograph review export tasks.json --model support-bot --evaluator cited --format label-studio
    """
    from barograph_server.evaluation.review.evaluator import find_evaluator
    from barograph_server.evaluation.review.exchange import collect_entries
    from barograph_server.evaluation.review.label_files import write_csv, write_label_studio

    now = datetime.now(UTC)
    start = parse_since("--since", choice.since, now)
    share = choice.check_share()
    with connection.warehouse() as client:
        source, _ = find_evaluator(client, evaluated.model, evaluated.evaluator, start, now)
        entries = collect_entries(client, source, choice.purpose, share)
    text = write_csv(entries) if file_format == "csv" else write_label_studio(entries)
    replace_file(path, text.encode("utf-8", "replace"))
    labels = sum(bool(entry.label) for entry in entries)
    Terminal().line(f"{path}: {plural(labels, 'label')}, {plural(len(entries) - labels, 'answer')} to label.")


@review_app.add("import")
def import_command(
    evaluated: Evaluated,
    connection: Connection,
    path: Annotated[Path, Arg("The file to read.", "FILE")],
    file_format: _Format,
    reviewer: Annotated[str | None, Opt("The reviewer of labels without one.", "NAME", name="--as")] = None,
) -> None:
    """Store the labels of a file. What is stored already does not change, so a file can be imported again.

    Labels that cannot be stored are listed with their place, the others are stored, and the exit code is 1.

    Examples:
        barograph review import gold.csv --model support-bot --evaluator cited --format csv
        barograph review import project-7.json --model support-bot --evaluator cited --format label-studio --as ana
    """
    from barograph_server.evaluation.review.evaluator import check_reviewer, find_evaluator
    from barograph_server.evaluation.review.exchange import import_entries, print_import, read_entries
    from barograph_server.evaluation.review.gold_labels import GoldLabels

    now = datetime.now(UTC)
    entries, cancelled = read_entries(path, file_format, None if reviewer is None else check_reviewer(reviewer))
    settings = connection.settings()
    with connect(settings.warehouse) as client:
        source, contract = find_evaluator(client, evaluated.model, evaluated.evaluator, now, now)
        gold = GoldLabels(contract, settings)
        plan = import_entries(client, source.evaluator_model, entries, gold, now)
    plan.cancelled = cancelled
    print_import(Terminal(), path, plan, gold)


@review_app.add("agreement")
def agreement_command(evaluated: Evaluated, output: Output, connection: Connection) -> None:
    """Show how far reviewers agree: Krippendorff's alpha, answers with different labels, and each reviewer's weeks.

    Alpha is 1 for perfect agreement and 0 for labels at random. A reviewer whose share of faulty answers changes from
    week to week, while that of others does not, may have changed the standard. If twenty answers of the random part
    have two labels, agreement also shows how often people are wrong; until then their labels count as truth in rates.

    Examples:
        barograph review agreement --model support-bot --evaluator cited
        barograph review agreement --model support-bot --evaluator cited --format json | jq .agreement.alpha
    """
    from barograph_server.evaluation.review.evaluator import find_evaluator

    now = datetime.now(UTC)
    with connection.warehouse() as client:
        source, _ = find_evaluator(client, evaluated.model, evaluated.evaluator, now, now)
        result = review_agreement(read_reviews(client, source.evaluator_model))
        errors = read_label_errors(client, [source.evaluator_model])[source.evaluator_model]
    output.show(result, print_agreement, source.evaluator_model, errors, values=agreement_values)
