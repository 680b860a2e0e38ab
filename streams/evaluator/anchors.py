"""Anchors of a judge: answers whose class people have decided, in a file with one JSON object in each line."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from barograph.contract.evaluators import FAULTY, SOUND

from barograph_server.streams.evaluator.answer import Answer
from barograph_server.streams.evaluator.check_evaluators import SetupError, read_file
from barograph_server.warehouse.evaluation.anchor_runs import AnchorRun

LEAST_ANCHORS = 20
"""Fewest anchors. The fewer there are, the more of its right verdicts a judge loses before it is found."""
MAX_TRIES = 3
"""How often an anchor is judged in one run until it has a verdict."""
_PROBLEMS = 10
"""Most problems in one message."""


class Anchor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An answer, and what people say about it."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    prompt: str
    answer: Annotated[str, msgspec.Meta(min_length=1)]
    answer_class: Literal["faulty", "sound"] = msgspec.field(name="class")


@dataclass(frozen=True, slots=True)
class AnchorSet:
    """The anchors of a judge."""

    anchors: tuple[Anchor, ...]
    hash: str
    """12 hexadecimal digits of what the anchors contain; neither their order nor white space between members counts."""

    def run(self, run_id: str, kind: str, classes: Mapping[str, str]) -> AnchorRun:
        """Return a run that ends now.

        Args:
            kind: `bank` or `run`.
            classes: anchor → class, without the anchors that have no verdict.
        """
        wrong = frozenset(
            each.id for each in self.anchors if classes.get(each.id, each.answer_class) != each.answer_class
        )
        return AnchorRun(run_id, datetime.now(UTC), kind, len(self.anchors), dict(classes), wrong)


def answer_of(model: str, anchor: Anchor) -> Answer:
    """Return an anchor as an answer of a model, which a judge can evaluate."""
    return Answer(model, "anchor", anchor.id, 0, anchor.answer, anchor.prompt)


def read_anchors(path: Path) -> AnchorSet:
    """Read the file of a judge's anchors. Empty lines do not count."""
    try:
        lines = read_file(path).decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise SetupError(f"{path} is not UTF-8: {error.reason}; convert it") from error
    decode = msgspec.json.Decoder(Anchor).decode
    rows: dict[str, tuple[int, Anchor]] = {}
    problems = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            anchor = decode(line)
        except (msgspec.DecodeError, RecursionError) as error:
            what = 'write {"id": …, "prompt": …, "answer": …, "class": "faulty"} or "sound"'
            problems.append(f"line {number}: {str(error) or 'nested too deeply'}; {what}")
            continue
        if anchor.id in rows:
            problems.append(f"line {number}: the id {anchor.id!r} is in line {rows[anchor.id][0]} too; rename one")
            continue
        rows[anchor.id] = number, anchor
    anchors = [anchor for _, anchor in rows.values()]
    if not problems:
        problems = list(_failures(anchors))
    if problems:
        more = [f"and {len(problems) - _PROBLEMS} more"] if len(problems) > _PROBLEMS else []
        raise SetupError("\n".join([f"the anchors {path} cannot be used:", *problems[:_PROBLEMS], *more]))
    content = msgspec.json.encode(sorted(anchors, key=lambda anchor: anchor.id))
    return AnchorSet(tuple(anchors), hashlib.sha256(content).hexdigest()[:12])


def _failures(anchors: list[Anchor]) -> Iterable[str]:
    if len(anchors) < LEAST_ANCHORS:
        yield f"there are {len(anchors)} anchors; label at least {LEAST_ANCHORS}, better 100"
    classes = {anchor.answer_class for anchor in anchors}
    if len(classes) == 1:
        (only,) = classes
        yield f"all anchors are {only}; add {SOUND if only == FAULTY else FAULTY} ones"
