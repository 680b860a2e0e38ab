"""Changes: those that people and deployment jobs report, and those that other tables record."""

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from barograph_server.warehouse.client import Client
from barograph_server.warehouse.queries import NO_DRILLS, rows_of
from barograph_server.warehouse.tables import insert_records

MAX_TEXT_CHARS = 2_000
DERIVED_KINDS = (
    *("contract", "promotion", "baseline", "version", "arm", "server-restart"),
    *("prompt-version", "prompt-label", "prompt-rollback"),
)
"""Kinds that Barograph records itself."""
TEXTS = ("kind", "model", "subject", "before", "after", "source", "owner", "reason", "changed_by")
"""Members of a reported change besides `changed_at`."""
REQUIRED = {"kind": "what kind of change it is, such as deploy", "subject": "what changed"}
FIRST_YEAR = 1971
FUTURE = timedelta(minutes=5)
"""How far the clock of a reporting host may be ahead."""


@dataclass(frozen=True, slots=True)
class Change:
    """One recorded change: a row of the view `all_changes`."""

    changed_at: datetime
    kind: str
    model: str
    """The model that it concerns; empty: all models."""
    subject: str
    before: str
    after: str
    source: str
    """The declared source that changed; empty: none."""
    owner: str
    reason: str
    changed_by: str

    @property
    def versions(self) -> str:
        """The values before and after it, as far as they are known."""
        return " → ".join(filter(None, (self.before, self.after)))

    @property
    def title(self) -> str:
        """What changed, with the values."""
        return " ".join(filter(None, (self.kind, self.subject, self.versions)))


class ChangeError(Exception):
    """A reported change is not valid; the message says which member and why."""


def reported_change(values: Mapping[str, Any], now: datetime) -> Change:
    """Check a reported change, and return it.

    Args:
        values: `kind` and `subject`, and optionally the other members of `TEXTS` and `changed_at`, a time with its
            zone in ISO 8601.
        now: the time of the report; the default of `changed_at`.

    Raises:
        ChangeError: a member is unknown, missing or not valid.
    """
    for name in values:
        if name not in (*TEXTS, "changed_at"):
            members = ", ".join(("changed_at", *TEXTS))
            raise ChangeError(f"{name} is not a member of a change; the members are {members}")
    texts = {name: values.get(name, "") for name in TEXTS}
    for name, value in texts.items():
        if not isinstance(value, str):
            raise ChangeError(f"{name} is not a text")
        if name in REQUIRED and not value.strip():
            raise ChangeError(f"{name} is missing; write {REQUIRED[name]}")
        if any("\ud800" <= char <= "\udfff" for char in value):
            raise ChangeError(f"{name} is not valid Unicode: it has half of a surrogate pair")
        if len(value) > MAX_TEXT_CHARS:
            raise ChangeError(f"{name} has {len(value):,} characters; write at most {MAX_TEXT_CHARS:,}")
    if _plain(texts["kind"]) in map(_plain, DERIVED_KINDS):
        raise ChangeError(f"kind {texts['kind']} is one that Barograph records itself; write another, such as deploy")
    return Change(changed_at=_time(values.get("changed_at"), now), **texts)


def _plain(kind: str) -> str:
    """Return the letters and digits of a kind, so that `Contract ` reads as `contract`."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", kind).casefold()))


def _time(value: object, now: datetime) -> datetime:
    if value is None:
        return now
    try:
        if not isinstance(value, str):
            raise ValueError
        time = datetime.fromisoformat(value)
    except ValueError as error:
        raise ChangeError("changed_at is not a time; write it as 2026-05-04T13:20:00Z") from error
    if time.tzinfo is None:
        raise ChangeError("changed_at has no time zone; end it with Z for UTC")
    if time.year < FIRST_YEAR:
        raise ChangeError(f"changed_at is before {FIRST_YEAR}; correct it")
    if time > now + FUTURE:
        raise ChangeError("changed_at is in the future; correct the clock of the host, or leave it out")
    return time.astimezone(UTC)


def add_changes(client: Client, changes: Iterable[Change]) -> None:
    """Write reported changes. A repeated change replaces itself, so a report can be repeated after a failure."""
    insert_records(client, "changes", list(changes))


def source_notes(client: Client, changes: Iterable[Change]) -> list[str]:
    """Say which sources of changes no contract in force declares, so that no field is related to them."""
    named = {each.source for each in changes if each.source}
    if not named:
        return []
    rows = client.rows("SELECT DISTINCT title FROM latest_lineage WHERE startsWith(node, 'source:')")
    return [
        f"No contract declares the source {source}, so the change is related to no field: see `sources`."
        for source in sorted(named - {title for (title,) in rows})
    ]


def read_changes(client: Client, model: str | None, start: datetime, end: datetime) -> list[Change]:
    """Read all changes in [start, end), in order of time.

    Args:
        model: changes of this model, and those that may concern every model; None: all but those of drills.
    """
    of_model = NO_DRILLS if model is None else "model IN ('', {model:String})"
    return rows_of(
        client,
        Change,
        f"FROM all_changes WHERE {of_model} AND changed_at >= {{start:DateTime64(3)}} "
        "AND changed_at < {end:DateTime64(3)} ORDER BY changed_at, kind, model, subject, after",
        {"model": model or "", "start": start, "end": end},
    )
