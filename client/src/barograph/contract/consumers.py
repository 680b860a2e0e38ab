"""Who reads what a model produces, as its contract declares it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

KINDS = ("group", "user", "dashboard", "rule", "caller")
"""Members of a consumer that say how it reads; each has exactly one."""


class DeclaredConsumer(msgspec.Struct, frozen=True, kw_only=True):
    """One reader of a model's topics or tables, or caller of the model."""

    owner: str
    """The people to ask before something changes for it."""
    group: str = ""
    """Its consumer group in Kafka."""
    user: str = ""
    """Its user in ClickHouse."""
    dashboard: str = ""
    """The uid of its dashboard in Grafana."""
    rule: str = ""
    """The uid of its alert rule in Grafana."""
    caller: str = ""
    """The value of the contract's `caller`, by which it names itself in its requests."""
    fields: tuple[str, ...] = ()
    """The fields that it needs; empty: not stated."""

    @property
    def kind(self) -> str:
        """How it reads: one of `KINDS`."""
        return next(kind for kind in KINDS if getattr(self, kind))

    @property
    def reader(self) -> str:
        """The name of the group, user, dashboard, rule or caller."""
        return str(getattr(self, self.kind))


def consumer_faults(consumer: DeclaredConsumer, fields: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Check a consumer, and yield the member and the fault of each problem.

    Args:
        consumer: what the contract says.
        fields: names of the contract's fields.
    """
    kinds = [kind for kind in KINDS if getattr(consumer, kind)]
    if len(kinds) != 1:
        text = "none is" if not kinds else f"{' and '.join(kinds)} are"
        yield "", f"needs exactly one of {', '.join(KINDS)}, and {text} set"
    for name in consumer.fields:
        if name not in fields:
            yield "fields", f"{name!r} is no field of the contract; remove it, or correct its name"
