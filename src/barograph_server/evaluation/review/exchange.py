"""`barograph review export` and `import`: between files and the table `reviews`."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from barograph_server.errors import CommandError
from barograph_server.evaluation.review.gold_labels import GoldLabels
from barograph_server.evaluation.review.label_files import LabelFormat, read_csv, read_label_studio
from barograph_server.evaluation.review.labelled_answers import ImportPlan, LabelledAnswer, plan_import
from barograph_server.terminal import Terminal, plural
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.evaluation.review_queue import (
    ReviewPurpose,
    ReviewSource,
    known_answers,
    read_answer_texts,
    read_queue,
)
from barograph_server.warehouse.evaluation.reviews import read_reviews, store_reviews, unsent_gold

MAX_FILE_BYTES = 256 << 20
MAX_LISTED = 20


def collect_entries(client: Client, source: ReviewSource, purpose: ReviewPurpose, share: float) -> list[LabelledAnswer]:
    """Read all labels, and the chosen answers that need more; by id, version and reviewer."""
    reviews = read_reviews(client, source.evaluator_model)
    entries = [
        LabelledAnswer(
            "", each.id, each.version, each.reason, each.probability, each.reviewer, each.label, each.at, each.note
        )
        for each in reviews
    ]
    # A name that no reviewer has: the queue contains what needs labels of anybody.
    queue = read_queue(client, source, reviews, "", purpose, share)
    entries += [LabelledAnswer("", each.id, each.version, each.reason, each.probability) for each in queue.items]
    texts = read_answer_texts(client, source.model, sorted({entry.id for entry in entries}))
    entries.sort(key=lambda entry: (entry.id, entry.version, entry.reviewer))
    result = []
    for entry in entries:
        prompt, answer = texts.get((entry.id, entry.version), ("", ""))
        result.append(replace(entry, prompt=prompt, answer=answer))
    return result


def read_entries(path: Path, file_format: LabelFormat, reviewer: str | None) -> tuple[list[LabelledAnswer], int]:
    """Read a file, and return its entries and the number of cancelled annotations.

    Args:
        reviewer: the reviewer of labels without one; None: they are reported.
    """
    if path.stat().st_size > MAX_FILE_BYTES:
        raise CommandError(f"{path} has more than {MAX_FILE_BYTES:,} bytes; divide it.")
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise CommandError(f"{path} is not UTF-8: {error.reason} at byte {error.start:,}; convert it.") from error
    entries, cancelled = (read_csv(text, path), 0) if file_format == "csv" else read_label_studio(text, path)
    if reviewer is not None:
        entries = [replace(entry, reviewer=entry.reviewer or reviewer) for entry in entries]
    return entries, cancelled


def import_entries(
    client: Client, evaluator_model: str, entries: Sequence[LabelledAnswer], gold: GoldLabels, now: datetime
) -> ImportPlan:
    """Store the labels that are new, and send the gold ones.

    Args:
        gold: sends all gold labels that Kafka may not have.
        now: the time of labels without one.
    """
    known = known_answers(client, evaluator_model, sorted({entry.id for entry in entries}))
    plan = plan_import(evaluator_model, entries, known, read_reviews(client, evaluator_model), now)
    store_reviews(client, plan.reviews)
    for each in unsent_gold(client, evaluator_model):
        gold.add(each)
    gold.close()
    return plan


def print_import(terminal: Terminal, path: Path, plan: ImportPlan, gold: GoldLabels) -> None:
    terminal.line(
        f"{path}: {plural(len(plan.reviews), 'label')} stored, {plural(gold.sent, 'gold label')} sent to Kafka."
    )
    counts = {
        "stored already": plan.unchanged,
        "older than the stored label, which stays": plan.older,
        "without a label": plan.without_label,
        "cancelled by the reviewer": plan.cancelled,
    }
    terminal.lines(f"  {count:,} {what}" for what, count in counts.items() if count)
    errors = []
    if plan.problems:
        listed = [f"  {problem}" for problem in plan.problems[:MAX_LISTED]]
        if len(plan.problems) > MAX_LISTED:
            listed.append(f"  and {len(plan.problems) - MAX_LISTED:,} more")
        errors.append("\n".join([f"{plural(len(plan.problems), 'entry', 'entries')} not imported:", *listed]))
    if gold.waiting:
        errors.append(
            f"{plural(gold.waiting, 'gold label')} could not be sent to Kafka: {gold.problem.rstrip('.')}. They are "
            "stored: import the file again, which sends them."
        )
    if errors:
        raise CommandError("\n".join(errors))
