"""The rule on readers that no contract declares."""

from collections.abc import Iterator

from barograph_server.alerts.rule import Rule
from barograph_server.alerts.templates.factory import RuleFactory
from barograph_server.alerts.text import LabelRef
from barograph_server.dashboards.uids import panel_link
from barograph_server.warehouse.signals.readers import undeclared_readers

READERS_EVERY_S = 1800
"""Shortest evaluation interval: readers are observed once a day."""


def reader_rules(factory: RuleFactory) -> Iterator[Rule]:
    """Yield the rule on undeclared readers, for a contract with critical fields and declared consumers.

    Topics and tables hold all models, so a reader of them counts for each such contract.
    """
    contract = factory.contract
    if not contract.consumers or not any(field.critical for field in contract.fields):
        return
    yield from factory.rule(
        "undeclared-reader",
        "ticket",
        headline="a reader that no contract declares",
        summary=("No contract declares ", LabelRef("reader"), ", which reads topics or tables of Barograph."),
        signal=undeclared_readers(),
        about="inputs",
        form="number",
        has_bounds=False,
        clear=0.5,
        every_s=READERS_EVERY_S,
        panel=panel_link("model", "lineage"),
    )
