"""Training and production tables with known drift."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

DAY_S = 86_400
WEEK_S = 7 * DAY_S
MONDAY_S = 4 * DAY_S
"""The first Monday after the epoch."""

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class MonitoredTable:
    name: str
    train: pa.Table
    production: pa.Table
    labels: pa.Table
    options: str
    drift_s: int
    drifted: frozenset[str]
    """The fields that drift; `outputs` may drift as a result."""
    outputs: frozenset[str] = frozenset({"score"})
    window: str = "1d"
    """The pipeline's windows as long as the periods by which the tutorial compares."""
    retention_days: int = 400

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for kind in ("train", "production", "labels"):
            pq.write_table(getattr(self, kind), folder / f"{kind}.parquet")


def monday_s(days_ago: int) -> int:
    return (int(time.time()) - days_ago * DAY_S - MONDAY_S) // WEEK_S * WEEK_S + MONDAY_S


def times_ms(rng: np.random.Generator, start_s: int, days: int, n: int) -> NDArray[np.int64]:
    return np.asarray(1000 * start_s + (np.arange(n) + rng.random(n)) * (days * DAY_S * 1000 / n), np.int64)


def timestamps(at_ms: NDArray[np.int64]) -> pa.Array:
    return pa.array(at_ms, pa.timestamp("ms", "UTC"))


def chosen(rng: np.random.Generator, values: list[str], shares: FloatArray) -> NDArray[Any]:
    drawn: NDArray[Any] = np.array(values)[(rng.random((len(shares), 1)) > shares.cumsum(axis=1)).sum(axis=1)]
    return drawn


def mixed(drifted: NDArray[np.bool_], before: list[float], after: list[float]) -> FloatArray:
    return np.where(drifted[:, None], np.array(after), np.array(before))


def delayed(
    rng: np.random.Generator, production: pa.Table, id_: str, time_: str, label: str, days: tuple[float, float]
) -> pa.Table:
    at_ms = production[time_].cast(pa.int64()).to_numpy()
    known_ms = at_ms + (rng.uniform(*days, len(at_ms)) * DAY_S * 1000).astype(np.int64)
    table = pa.table({id_: production[id_], label: production[label], "at": timestamps(known_ms)})
    return table.take(pa.array(np.argsort(known_ms, kind="stable")))


def monitored(
    rng: np.random.Generator,
    rows: Callable[[str, int, int, int], pa.Table],
    start_s: int,
    days: int = 14,
    n: int = 7_000,
    *,
    delays: tuple[float, float] = (0.5, 2),
    training: tuple[int, int] = (28, 14_000),
    **members: Any,
) -> MonitoredTable:
    """Make the tables with `rows`, which takes a prefix of ids, the first second, the days and the number of rows.

    The training data end where the production starts; labels become known with delays of some days.
    """
    production = rows("r", start_s, days, n)
    train = rows("t", start_s - training[0] * DAY_S, *training)
    id_, time_, label = (re.findall(rf"--{role} (\w+)", members["options"])[0] for role in ("id", "time", "label"))
    labels = delayed(rng, production, id_, time_, label, delays)
    return MonitoredTable(train=train, production=production, labels=labels, **members)


CHURN: dict[str, Any] = {
    "name": "churn",
    "options": "--id request_id --time scored_at --score p --label churned",
    "delays": (1, 3),
}


def binary() -> MonitoredTable:
    """Eight days of a churn model; from the fifth day on balances are higher, and more customers have the plan pro."""
    rng = np.random.default_rng(20)
    start_s = monday_s(21)
    drift_s = start_s + 4 * DAY_S

    def rows(prefix: str, first_s: int, days: int, n: int) -> pa.Table:
        at_ms = times_ms(rng, first_s, days, n)
        drifted = at_ms >= drift_s * 1000
        balance = rng.lognormal(np.where(drifted, 8.0, 7.0), 0.8)
        plan = chosen(rng, ["basic", "plus", "pro"], mixed(drifted, [0.6, 0.3, 0.1], [0.2, 0.3, 0.5]))
        age = rng.integers(18, 80, n)
        p = 1 / (1 + np.exp(-(0.8 * (np.log(balance) - 7) + (plan == "basic") - 1.2)))
        return pa.table(
            {
                "request_id": [f"{prefix}{i}" for i in range(n)],
                "scored_at": timestamps(at_ms),
                "age": age,
                "balance": np.round(balance, 2),
                "plan": plan,
                "country": chosen(rng, ["DE", "FR", "PL", "US"], np.tile([0.4, 0.3, 0.2, 0.1], (n, 1))),
                "p": p,
                "churned": np.where(rng.random(n) < p, "yes", "no"),
            }
        )

    return monitored(rng, rows, start_s, 8, 6_400, drift_s=drift_s, drifted=frozenset({"balance", "plan"}), **CHURN)


def regression() -> MonitoredTable:
    """A forecast of 606 days that ended two years ago; from day 399 on prices are higher."""
    rng = np.random.default_rng(21)
    end_s = monday_s(730)
    start_s = end_s - 606 * DAY_S
    drift_s = start_s + 399 * DAY_S

    def rows(prefix: str, first_s: int, days: int, n: int) -> pa.Table:
        at_ms = times_ms(rng, first_s, days, n)
        price = rng.normal(np.where(at_ms >= drift_s * 1000, 13.0, 10.0), 2.0)
        visitors = rng.poisson(200, n)
        expected = visitors * 0.3 - 2 * price
        return pa.table(
            {
                "id": [f"{prefix}{i}" for i in range(n)],
                "at": timestamps(at_ms),
                "price": np.round(price, 2),
                "visitors": visitors,
                "region": chosen(rng, ["north", "south", "west"], np.full((n, 3), 1 / 3)),
                "forecast": expected,
                "sold": rng.normal(expected, 5.0),
            }
        )

    options = "--id id --time at --score forecast --label sold"
    own: dict[str, Any] = {"name": "sales", "options": options, "window": "7d", "retention_days": 1400}
    own |= {"delays": (3, 7), "training": (182, 12_740), "drift_s": drift_s, "drifted": frozenset({"price"})}
    return monitored(rng, rows, start_s, 606, 42_420, **own)


def classes() -> MonitoredTable:
    """Two weeks of a model that routes tickets to three teams; in the second, tickets are longer and mostly chats."""
    rng = np.random.default_rng(22)
    teams = ["billing", "sales", "tech"]
    start_s = monday_s(28)
    drift_s = start_s + 7 * DAY_S

    def rows(prefix: str, first_s: int, days: int, n: int) -> pa.Table:
        at_ms = times_ms(rng, first_s, days, n)
        drifted = at_ms >= drift_s * 1000
        length = np.floor(rng.lognormal(np.where(drifted, 6.0, 5.0), 0.7)).astype(np.int64)
        channel = chosen(rng, ["mail", "form", "chat"], mixed(drifted, [0.5, 0.4, 0.1], [0.2, 0.2, 0.6]))
        logits = np.stack([0.5 * (np.log(length + 1) - 5), 1.0 * (channel == "chat"), rng.normal(0, 1, n)], axis=1)
        shares = np.exp(logits)
        shares /= shares.sum(axis=1, keepdims=True)
        return pa.table(
            {
                "ticket": [f"{prefix}{i}" for i in range(n)],
                "at": timestamps(at_ms),
                "length": length,
                "channel": channel,
                "language": chosen(rng, ["de", "en", "fr"], np.tile([0.3, 0.5, 0.2], (n, 1))),
                "sentiment": rng.uniform(-1, 1, n),
                **{f"scores.{team}": shares[:, k] for k, team in enumerate(teams)},
                "team": np.array(teams)[shares.argmax(axis=1)],
                "actual_team": chosen(rng, teams, shares),
            }
        )

    options = "--id ticket --time at --class team --label actual_team"
    drifted, outputs = frozenset({"length", "channel"}), {"class", "confidence", *(f"scores.{team}" for team in teams)}
    own: dict[str, Any] = {"name": "tickets", "options": options, "drift_s": drift_s, "drifted": drifted}
    return monitored(rng, rows, start_s, **own, outputs=frozenset(outputs))


GENERATED: dict[str, Callable[[], MonitoredTable]] = {
    function.__name__: function for function in (binary, regression, classes)
}
