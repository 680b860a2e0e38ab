"""The command lines of `barograph review`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from barograph_server.cli.options import ConfigOption, JsonOption, help_text
from barograph_server.errors import CommandError
from barograph_server.sketches.judges.agreement import LEAST_ITEMS
from barograph_server.terminal import AlignedTable, Terminal, percentage, plural
from barograph_server.warehouse.evaluation.reviews import ReviewAgreement

MAX_LISTED = 50
"""Disagreements that are printed; `--json` has all."""


def agreement_json(evaluator_model: str, result: ReviewAgreement) -> dict[str, Any]:
    """Convert the agreement for `Terminal.json`."""
    return {
        "evaluator_model": evaluator_model,
        "labels": result.labels,
        "reviewers": list(result.reviewers),
        "answers_with_two_labels": result.agreement.items,
        "alpha": result.agreement.alpha,
        "low": result.agreement.low,
        "high": result.agreement.high,
        "disagreements": [
            {"id": each.id, "version": each.version, "labels": each.labels} for each in result.disagreements
        ],
        "weeks": [
            {
                "reviewer": each.reviewer,
                "week": each.week.isoformat(),
                "labels": each.labels,
                "faulty": each.faulty,
                "unsure": each.unsure,
            }
            for each in result.weeks
        ],
    }


def print_agreement(terminal: Terminal, evaluator_model: str, result: ReviewAgreement) -> None:
    """Print alpha, the answers with different labels, and each reviewer's weeks."""
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
    if result.disagreements:
        terminal.line()
        terminal.line(f"{plural(len(result.disagreements), 'answer')} with different labels:")
        table = AlignedTable("id", "version", "labels")
        for answer in result.disagreements[:MAX_LISTED]:
            labels = ", ".join(f"{name}: {label}" for name, label in answer.labels.items())
            table.row(answer.id, answer.version, labels)
        terminal.table(table)
    if result.weeks:
        terminal.line()
        table = AlignedTable("reviewer", "week", "labels", "faulty", "unsure", numbers=("labels", "faulty", "unsure"))
        for week in result.weeks:
            decided = week.labels - week.unsure
            table.row(
                week.reviewer,
                week.week.isoformat(),
                f"{week.labels:,}",
                percentage(week.faulty / decided) if decided else "-",
                percentage(week.unsure / week.labels),
            )
        terminal.table(table)


review_app = typer.Typer(add_completion=False, no_args_is_help=True)

_Model = Annotated[str, typer.Argument(metavar="MODEL", help="The answering model.", show_default=False)]
_Evaluator = Annotated[
    str, typer.Argument(metavar="EVALUATOR", help="Its evaluator, as the contract names it.", show_default=False)
]
_Share = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="Probability with which an answer is chosen. Default: 0.01 for gold, 1 for learning.",
        show_default=False,
    ),
]
_For = Annotated[
    Literal["gold", "learning"],
    typer.Option("--for", help="gold: a random part, for the rate; learning: uncertain and disagreeing answers."),
]
_Since = Annotated[str, typer.Option(metavar="TIME", help="Start of the answers' event time: a time, or how long ago.")]


@review_app.callback()
def review_group() -> None:
    """Label answers of a language model on a local page or in files, and see how far reviewers agree."""


def serve_command(
    model: _Model,
    evaluator: _Evaluator,
    reviewer: Annotated[
        str, typer.Option("--as", metavar="NAME", help="Your name, stored with each label.", show_default=False)
    ],
    share: _Share = None,
    purpose: _For = "gold",
    second_share: Annotated[
        float, typer.Option("--second-share", metavar="SHARE", help="Share of the answers that two people review.")
    ] = 0.1,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port on 127.0.0.1; 0: any free one.")] = 0,
    documents: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Documents that answers cite: the page shows the cited passages.",
            show_default=False,
        ),
    ] = None,
    since: _Since = "30d",
    config: ConfigOption = None,
) -> None:
    """Serve a page on this machine on which you label answers with single keys, until Ctrl-C.

    Each label is stored at once. Labels of the random part (`--for gold`) also become labels of the evaluator's model,
    ten seconds later, so that `barograph evaluations` corrects its rates by them. The page has no login: everybody who
    can reach the port on this machine labels under your name.

    Examples:
        barograph review serve support-bot cited --as ana
        barograph review serve support-bot cited --as ana --for learning --documents documents/
    """
    from datetime import UTC, datetime

    from barograph_server.evaluation.review.evaluator import check_reviewer, check_share, find_evaluator
    from barograph_server.evaluation.review.gold_labels import GoldLabels
    from barograph_server.evaluation.review.server import ReviewServer
    from barograph_server.evaluation.review.serving import print_sending, print_start
    from barograph_server.settings import load_settings
    from barograph_server.signal_wait import wait_for_signal
    from barograph_server.streams.evaluator.check_evaluators import read_documents
    from barograph_server.streams.evaluator.checks.documents import DocumentSet
    from barograph_server.times import parse_since
    from barograph_server.warehouse.client import connect
    from barograph_server.warehouse.evaluation.review_queue import GOLD_SHARE, LEARNING_SHARE, read_queue
    from barograph_server.warehouse.evaluation.reviews import read_reviews, store_reviews, unsent_gold

    now = datetime.now(UTC)
    start = parse_since("--since", since, now)
    reviewer = check_reviewer(reviewer)
    default = GOLD_SHARE if purpose == "gold" else LEARNING_SHARE
    share = check_share("--share", default if share is None else share)
    check_share("--second-share", second_share, least_is_zero=True)
    if documents is not None and not documents.is_dir():
        raise CommandError(f"--documents {documents} is not a folder: name one with the files .md and .txt.")
    cited = None if documents is None else DocumentSet(read_documents(documents, lambda _: None))
    settings = load_settings(config, needs=("kafka", "clickhouse") if purpose == "gold" else ("clickhouse",))
    with connect(settings.warehouse) as client:
        source, contract = find_evaluator(client, model, evaluator, start, now)
        reviews = read_reviews(client, source.evaluator_model)
        queue = read_queue(client, source, reviews, reviewer, purpose, share, second_share)
        store_reviews(client, queue.adopted)
        unsent = unsent_gold(client, source.evaluator_model, reviewer) if purpose == "gold" else []
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
    Literal["csv", "label-studio"],
    typer.Option("--format", help="csv, or label-studio: the JSON of Label Studio.", show_default=False),
]


def export_command(
    model: _Model,
    evaluator: _Evaluator,
    path: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.", show_default=False)],
    file_format: _Format,
    share: _Share = None,
    purpose: _For = "gold",
    since: _Since = "30d",
    config: ConfigOption = None,
) -> None:
    """Write all labels of an evaluator, and the chosen answers that need more, with their texts.

    The file has prompts and answers as they are stored: treat it as personal data.

    Examples:
        barograph review export support-bot cited gold.csv --format csv --share 0.05
        barograph review export support-bot cited tasks.json --format label-studio
    """
    from datetime import UTC, datetime

    from barograph_server.evaluation.review.evaluator import check_share, find_evaluator
    from barograph_server.evaluation.review.exchange import collect_entries
    from barograph_server.evaluation.review.label_files import write_csv, write_label_studio
    from barograph_server.file_writes import replace_file
    from barograph_server.settings import load_settings
    from barograph_server.times import parse_since
    from barograph_server.warehouse.client import connect
    from barograph_server.warehouse.evaluation.review_queue import GOLD_SHARE, LEARNING_SHARE

    now = datetime.now(UTC)
    start = parse_since("--since", since, now)
    default = GOLD_SHARE if purpose == "gold" else LEARNING_SHARE
    share = check_share("--share", default if share is None else share)
    settings = load_settings(config, needs=("clickhouse",))
    with connect(settings.warehouse) as client:
        source, _ = find_evaluator(client, model, evaluator, start, now)
        entries = collect_entries(client, source, purpose, share)
    text = write_csv(entries) if file_format == "csv" else write_label_studio(entries)
    replace_file(path, text.encode("utf-8", "replace"))
    labels = sum(bool(entry.label) for entry in entries)
    Terminal().line(f"{path}: {plural(labels, 'label')}, {plural(len(entries) - labels, 'answer')} to label.")


def import_command(
    model: _Model,
    evaluator: _Evaluator,
    path: Annotated[Path, typer.Argument(metavar="FILE", help="The file to read.", show_default=False)],
    file_format: _Format,
    reviewer: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="The reviewer of labels without one.", show_default=False),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Store the labels of a file. What is stored already does not change, so a file can be imported again.

    Labels that cannot be stored are listed with their place, the others are stored, and the exit code is 1.

    Examples:
        barograph review import support-bot cited gold.csv --format csv
        barograph review import support-bot cited project-7.json --format label-studio --as ana
    """
    from datetime import UTC, datetime

    from barograph_server.evaluation.review.evaluator import check_reviewer, find_evaluator
    from barograph_server.evaluation.review.exchange import import_entries, print_import, read_entries
    from barograph_server.evaluation.review.gold_labels import GoldLabels
    from barograph_server.settings import load_settings
    from barograph_server.warehouse.client import connect

    now = datetime.now(UTC)
    entries, cancelled = read_entries(path, file_format, None if reviewer is None else check_reviewer(reviewer))
    settings = load_settings(config)
    with connect(settings.warehouse) as client:
        source, contract = find_evaluator(client, model, evaluator, now, now)
        gold = GoldLabels(contract, settings)
        plan = import_entries(client, source.evaluator_model, entries, gold, now)
    plan.cancelled = cancelled
    print_import(Terminal(), path, plan, gold)


def agreement_command(
    model: _Model, evaluator: _Evaluator, as_json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Show how far reviewers agree: Krippendorff's alpha, answers with different labels, and each reviewer's weeks.

    Alpha is 1 for perfect agreement and 0 for labels at random. A reviewer whose share of faulty answers changes from
    week to week, while that of others does not, may have changed the standard.

    Examples:
        barograph review agreement support-bot cited
        barograph review agreement support-bot cited --json | jq .alpha
    """
    from datetime import UTC, datetime

    from barograph_server.evaluation.review.evaluator import find_evaluator
    from barograph_server.settings import load_settings
    from barograph_server.warehouse.client import connect
    from barograph_server.warehouse.evaluation.reviews import read_reviews, review_agreement

    now = datetime.now(UTC)
    settings = load_settings(config, needs=("clickhouse",))
    with connect(settings.warehouse) as client:
        source, _ = find_evaluator(client, model, evaluator, now, now)
        result = review_agreement(read_reviews(client, source.evaluator_model))
    if as_json:
        Terminal().json(agreement_json(source.evaluator_model, result))
    else:
        print_agreement(Terminal(), source.evaluator_model, result)


review_app.command("serve", help=help_text(serve_command))(serve_command)
review_app.command("export", help=help_text(export_command))(export_command)
review_app.command("import", help=help_text(import_command))(import_command)
review_app.command("agreement", help=help_text(agreement_command))(agreement_command)
