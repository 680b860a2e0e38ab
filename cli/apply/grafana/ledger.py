"""What was last written to Grafana: fingerprints that lie in Grafana itself, in the data source's `jsonData`.

A ledger is what tells an edit by hand from a contract that changed. It is written twice around the writing of other
objects: before, as what is about to be written, and afterwards, as what Grafana made of it. An apply that is killed in
between has therefore said already what it may have left behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Record:
    """One writing of one object."""

    sent: str
    """Fingerprint of what was sent, secrets included."""
    kept: str
    """Fingerprint of the object afterwards; while the record is open, of what was sent, without secrets."""
    open: bool = False
    """Whether it was about to be written: nobody has seen yet that it was."""


Records = tuple[Record, ...]
"""Of one object: the last one that was seen, and those that may have been written since."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """The records of all objects, by kind and key."""

    records: Mapping[str, Records]

    def of(self, name: str) -> Records:
        """The records of one object; none where it was never ours."""
        return self.records.get(name, ())

    def opened(self, name: str, sent: str, content: str) -> Ledger:
        """The ledger with a writing that is about to begin."""
        others = tuple(record for record in self.of(name) if record.sent != sent)
        return Ledger({**self.records, name: (*others, Record(sent, content, open=True))})

    def settled(self, name: str, sent: str, kept: str) -> Ledger:
        """The ledger with a writing that was seen."""
        return Ledger({**self.records, name: (Record(sent, kept),)})

    def as_json(self) -> dict[str, Any]:
        """As it stands in the data source."""
        return {
            "format": FORMAT,
            "applied": {
                name: [[record.sent, record.kept, *(["open"] if record.open else [])] for record in records]
                for name, records in sorted(self.records.items())
            },
        }


def read_ledger(value: Any) -> Ledger:
    """Read what stands in the data source; something else than a ledger of ours is none."""
    if not isinstance(value, Mapping) or value.get("format") != FORMAT:
        return Ledger({})
    try:
        return Ledger(
            {
                str(name): tuple(Record(str(sent), str(retained), bool(rest)) for sent, retained, *rest in entries)
                for name, entries in value["applied"].items()
            }
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return Ledger({})


def ledger_name(kind: str, key: str) -> str:
    """What an object is called in the ledger."""
    return f"{kind}/{key}"
