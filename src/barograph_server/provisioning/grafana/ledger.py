"""Ledger of writes to Grafana: fingerprints stored in Grafana itself, in the data source's `jsonData`.

The ledger distinguishes a manual edit from a changed contract. Each apply writes it twice: before the other objects,
with pending records of everything it is about to write, and afterwards, with the state that Grafana stored. If an apply
is killed in between, the pending records show what it may have written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FORMAT = 1


@dataclass(frozen=True, slots=True)
class WriteRecord:
    """One write of one object."""

    sent: str
    """Fingerprint of the body that was sent, secrets included."""
    stored: str
    """Fingerprint of the object that Grafana stored; of a pending record, of the body sent, without secrets."""
    pending: bool = False
    """Whether the write was announced and its result was not read yet."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """The records of all objects, by `ledger_name`."""

    records: Mapping[str, tuple[WriteRecord, ...]]
    """Of each object the last completed write, and the pending ones since."""

    def records_of(self, name: str) -> tuple[WriteRecord, ...]:
        """Return the records of one object; none if it was never applied."""
        return self.records.get(name, ())

    def begin(self, name: str, sent: str, content: str) -> Ledger:
        """Return the ledger with a pending write added."""
        others = tuple(record for record in self.records_of(name) if record.sent != sent)
        return Ledger({**self.records, name: (*others, WriteRecord(sent, content, pending=True))})

    def finish(self, name: str, sent: str, stored: str) -> Ledger:
        """Return the ledger with a completed write in place of the object's other records."""
        return Ledger({**self.records, name: (WriteRecord(sent, stored),)})

    def as_json(self) -> dict[str, Any]:
        """Return the ledger as the data source stores it."""
        return {
            "format": FORMAT,
            "applied": {
                name: [[record.sent, record.stored, *(["open"] if record.pending else [])] for record in records]
                for name, records in sorted(self.records.items())
            },
        }


def read_ledger(value: Any) -> Ledger:
    """Parse the ledger that the data source stores; an unknown format gives an empty ledger."""
    if not isinstance(value, Mapping) or value.get("format") != FORMAT:
        return Ledger({})
    try:
        return Ledger(
            {
                str(name): tuple(WriteRecord(str(sent), str(stored), bool(rest)) for sent, stored, *rest in entries)
                for name, entries in value["applied"].items()
            }
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return Ledger({})


def ledger_name(kind: str, key: str) -> str:
    """Return the name of an object in the ledger."""
    return f"{kind}/{key}"
