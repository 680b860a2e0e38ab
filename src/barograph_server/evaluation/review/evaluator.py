"""Which evaluator is reviewed, and who reviews."""

from datetime import datetime

from barograph.contract import Contract
from barograph.contract.evaluator_contracts import evaluator_contracts, evaluator_model

from barograph_server.contracts import hint, read_contract, require_evaluators
from barograph_server.errors import CommandError
from barograph_server.evaluation.review.gold_labels import GoldLabels
from barograph_server.terminal import Terminal, plural
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.evaluation.review_queue import MAX_ITEMS, ReviewQueue, ReviewSource
from barograph_server.warehouse.evaluation.reviews import MAX_REVIEWER_CHARS


def find_evaluator(
    client: Client, model: str, evaluator: str, since: datetime, until: datetime
) -> tuple[ReviewSource, Contract]:
    """Return where the answers with event times in [since, until) come from, and the contract of their evaluations."""
    contract = read_contract(client, model)
    models = require_evaluators(contract)
    if evaluator not in contract.evaluators:
        names = contract.evaluators
        raise CommandError(f"The contract of {model} has no evaluator {evaluator!r}{hint(evaluator, names)}")
    name = evaluator_model(model, evaluator)
    derived = next(each for each in evaluator_contracts(contract) if each.model == name)
    return ReviewSource(model, name, tuple(models), since, until), derived


def check_reviewer(name: str) -> str:
    """Return a reviewer's name without surrounding space."""
    name = name.strip()
    if not name or len(name) > MAX_REVIEWER_CHARS or not name.isprintable():
        raise CommandError(
            f"--as {name[:40]!r} is not a name: write 1 to {MAX_REVIEWER_CHARS} printable characters, such as --as ana."
        )
    return name


def check_share(option: str, share: float, *, least_is_zero: bool = False) -> float:
    if not (0.0 < share <= 1.0 or (least_is_zero and share == 0.0)):
        raise CommandError(f"{option} {share:g} is not a share: write a number above 0 and at most 1, such as 0.01.")
    return share


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
