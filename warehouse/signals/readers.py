"""Signal: readers that no contract declares, as `barograph consumers --store` observed them."""

from barograph_server.warehouse.signals.signal import SURE, EventTimeRange, Facts, FactTime, Signal

REACH_S = 3 * 86_400
"""How long an observation counts: it is made once a day."""


def undeclared_readers() -> Signal:
    """Return the signal of the readers in the newest observations: 1 for each that is not declared, else 0.

    Replayed history has no numbers, because readers are observed on the wall clock. The keys are `KIND NAME`, and an
    empty one, which has no number.
    """

    def select(period: EventTimeRange, fact_time: FactTime) -> str:
        return (
            "SELECT concat(kind, ' ', name) AS key, '' AS version, "
            "toUInt32(ceil(toUnixTimestamp64Milli(observed_at) / 1000)) AS until, until AS ended_at, "
            "until AS judged_at, tuple(until) AS rank, "
            f"tuple(toUInt8({SURE}), if(is_declared, 0., 1.), nan, nan, 0.) AS verdict "
            f"FROM readers FINAL WHERE {'0' if fact_time == 'ended' else '1'} "
            f"AND observed_at > toDateTime64({period.start}, 3, 'UTC') "
            f"AND observed_at <= toDateTime64({period.end}, 3, 'UTC')"
        )

    return Signal("reader", ("",), 0.5, Facts(select, REACH_S), has_further_keys=True)
