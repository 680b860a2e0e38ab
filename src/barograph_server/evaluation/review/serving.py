"""Messages of `barograph review serve`."""

from barograph_server.errors import CommandError
from barograph_server.evaluation.review.gold_labels import GoldLabels
from barograph_server.terminal import Terminal, plural
from barograph_server.warehouse.evaluation.review_queue import MAX_ITEMS, ReviewQueue


def print_start(terminal: Terminal, url: str, queue: ReviewQueue, unsent: int) -> None:
    """Say where the page is, and what it contains."""
    n = len(queue.items)
    terminal.line(f"Review {plural(n, 'answer')} at {url} (Ctrl-C stops)")
    if not queue.chosen:
        terminal.line(
            "No answer was chosen: raise --share or extend --since. Only answers whose text is published and that the "
            "evaluator judged can be reviewed."
        )
    elif n < queue.chosen:
        terminal.line(f"  {plural(queue.chosen - n, 'chosen answer')} have enough labels, or one of yours.")
    if queue.chosen >= MAX_ITEMS:
        terminal.line(f"  These are the first {MAX_ITEMS:,}; start again for more.")
    if queue.adopted:
        terminal.line(f"  {plural(len(queue.adopted), 'label')} that you gave for learning now count as gold.")
    if unsent:
        terminal.line(f"  {plural(unsent, 'earlier label')} may not be in Kafka and will be sent.")


def print_sending(terminal: Terminal, labelled: int, gold: GoldLabels) -> None:
    """Say what was labelled and sent."""
    terminal.line(f"{plural(labelled, 'answer')} labelled, {plural(gold.sent, 'gold label')} sent to Kafka.")
    if gold.waiting:
        raise CommandError(
            f"{plural(gold.waiting, 'gold label')} could not be sent to Kafka: {gold.problem.rstrip('.')}. They are "
            "stored in ClickHouse: run `barograph review serve` again under the same name, which sends them."
        )
