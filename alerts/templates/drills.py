"""The rule on drills. It exists only for contracts that set it, so an installation without drills stays quiet."""

from collections.abc import Iterator

from barograph_server.alerts.rule import Rule
from barograph_server.alerts.templates.factory import DAY_S, RuleFactory
from barograph_server.alerts.text import NumberRef, duration, in_url
from barograph_server.dashboards.uids import panel_link
from barograph_server.warehouse.signals.drills import drills_overdue

NAME = "drills-overdue"
OVERDUE_S = 30 * DAY_S
"""Default of `at_least`."""
DRILLS_EVERY_S = 1800


def drill_rules(factory: RuleFactory) -> Iterator[Rule]:
    """Yield the rule on the drills of a model, if its contract has the key `alerts.rules.drills-overdue`."""
    contract = factory.contract
    if NAME not in contract.alerts.rules:
        return
    at_least_s = factory.override(NAME).at_least_s or OVERDUE_S
    yield from factory.rule(
        NAME,
        "ticket",
        headline="drills are overdue",
        summary=("The drills of the model have not passed for ", NumberRef("A", "duration"), "."),
        description=(
            f"For {duration(at_least_s)} no drill has passed, or a failed drill has not been repeated with success. "
            "Nobody knows whether an incident would page. Clears when the drill passes."
        ),
        signal=drills_overdue(contract.model, NAME, float(at_least_s)),
        about="pipeline",
        form="duration",
        has_bounds=False,
        clear=float(at_least_s),
        every_s=DRILLS_EVERY_S,
        panel=panel_link("fleet", "drills"),
        page_query=(f"&var-model={in_url(contract.model)}&from=now-604800s&to=now",),
    )
