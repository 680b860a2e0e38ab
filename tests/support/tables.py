"""Training and production tables with known drift: four generated, one from scikit-learn's bundled data sets.

`python -m tests.support.tables NAME [FOLDER]` writes one of the generated ones, which the tutorials use.
"""

from __future__ import annotations

import shlex
import sys
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
    """Tables of one model, and what monitoring them must show.

    Attributes:
        name: The model's name.
        train: Training data with outputs and labels.
        production: The predictions, with the labels that became known later.
        labels: The same labels as events: id, label, and the time `at` at which each became known.
        options: The columns' roles, as options of `infer` and `compare`.
        by: Calendar periods by which `compare` judges.
        window: Name of the pipeline's windows of the same length.
        drift_s: Time at which the drift begins, Unix seconds.
        drifted: The fields that drift.
        outputs: The fields of outputs, which may drift as a result.
        retention_days: Retention that the times of the events need.
    """

    name: str
    train: pa.Table
    production: pa.Table
    labels: pa.Table
    options: str
    by: str
    window: str
    drift_s: int
    drifted: frozenset[str]
    outputs: frozenset[str]
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
    """Return the shares of each row, shape (rows, values)."""
    return np.where(drifted[:, None], np.array(after), np.array(before))


def delayed(
    rng: np.random.Generator, production: pa.Table, id_: str, time_: str, label: str, days: tuple[float, float]
) -> pa.Table:
    """Return the labels as events, each some days after its prediction, in the order in which they become known."""
    at_ms = production[time_].cast(pa.int64()).to_numpy()
    known_ms = at_ms + (rng.uniform(*days, len(at_ms)) * DAY_S * 1000).astype(np.int64)
    table = pa.table({id_: production[id_], label: production[label], "at": timestamps(known_ms)})
    return table.take(pa.array(np.argsort(known_ms, kind="stable")))


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

    drifted = frozenset({"balance", "plan"})
    return churn_table(rng, rows, start_s, days=8, n=6_400, drift_s=drift_s, drifted=drifted)


def shadow() -> MonitoredTable:
    """Six weeks of a churn model that ignores the plan; customers of the plan legacy are unknown to its candidate."""
    rng = np.random.default_rng(23)
    start_s = monday_s(63)

    def rows(prefix: str, first_s: int, days: int, n: int) -> pa.Table:
        balance = rng.lognormal(7.0, 0.8, n)
        plan = chosen(rng, ["basic", "plus", "legacy"], np.tile([0.49, 0.5, 0.01], (n, 1)))
        odds = np.log(balance) - 7
        churn = 1 / (1 + np.exp(-(odds + np.where(plan == "basic", 0.7, -0.7))))
        return pa.table(
            {
                "request_id": [f"{prefix}{i}" for i in range(n)],
                "scored_at": timestamps(times_ms(rng, first_s, days, n)),
                "balance": np.round(balance, 2),
                "plan": plan,
                "p": 1 / (1 + np.exp(-odds)),
                "churned": np.where(rng.random(n) < churn, "yes", "no"),
            }
        )

    return churn_table(rng, rows, start_s, days=42, n=6_300, drift_s=start_s, drifted=frozenset())


def churn_table(
    rng: np.random.Generator,
    rows: Callable[[str, int, int, int], pa.Table],
    start_s: int,
    *,
    days: int,
    n: int,
    drift_s: int,
    drifted: frozenset[str],
) -> MonitoredTable:
    """The tables of a churn model, whose labels arrive one to three days after the requests.

    Args:
        rng: draws the delays of labels.
        rows: makes a table from a prefix of ids, its first second, its days and its number of rows.
        start_s: where production starts, Unix seconds; four weeks of training data end there.
        days: the days of production.
        n: its rows.
        drift_s: where the drift starts, Unix seconds.
        drifted: the fields that drift.
    """
    production = rows("r", start_s, days, n)
    return MonitoredTable(
        name="churn",
        train=rows("t", start_s - 28 * DAY_S, 28, 14_000),
        production=production,
        labels=delayed(rng, production, "request_id", "scored_at", "churned", (1, 3)),
        options="--id request_id --time scored_at --score p --label churned",
        by="day",
        window="1d",
        drift_s=drift_s,
        drifted=drifted,
        outputs=frozenset({"score"}),
    )


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

    production = rows("r", start_s, 606, 42_420)
    return MonitoredTable(
        name="sales",
        train=rows("t", start_s - 182 * DAY_S, 182, 12_740),
        production=production,
        labels=delayed(rng, production, "id", "at", "sold", (3, 7)),
        options="--id id --time at --score forecast --label sold",
        by="week",
        window="7d",
        drift_s=drift_s,
        drifted=frozenset({"price"}),
        outputs=frozenset({"score"}),
        retention_days=1400,
    )


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

    production = rows("r", start_s, 14, 7_000)
    return MonitoredTable(
        name="tickets",
        train=rows("t", start_s - 28 * DAY_S, 28, 14_000),
        production=production,
        labels=delayed(rng, production, "ticket", "at", "actual_team", (0.5, 2)),
        options="--id ticket --time at --class team --label actual_team",
        by="day",
        window="1d",
        drift_s=drift_s,
        drifted=frozenset({"length", "channel"}),
        outputs=frozenset({"class", "confidence", *(f"scores.{team}" for team in teams)}),
    )


def breast_cancer() -> MonitoredTable:
    """Binary, 30 numeric columns with spaces in their names; texture is measured higher in the second week.

    The model learns from one half of scikit-learn's rows, and all tables are drawn from the other half.
    """
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(23)
    data = load_breast_cancer()
    names = data.feature_names.tolist()
    order = rng.permutation(len(data.target))
    learning, unseen = order[: len(order) // 2], order[len(order) // 2 :]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1)).fit(data.data[learning], data.target[learning])
    start_s = monday_s(28)
    drift_s = start_s + 7 * DAY_S
    shifts = {"mean texture": 6.0, "worst texture": 8.0}

    def rows(prefix: str, first_s: int, days: int, n: int) -> pa.Table:
        at_ms = times_ms(rng, first_s, days, n)
        drawn = rng.choice(unseen, n)
        features = data.data[drawn]
        for column, shift in shifts.items():
            features[at_ms >= drift_s * 1000, names.index(column)] += shift
        return pa.table(
            {
                "id": [f"{prefix}{i}" for i in range(n)],
                "at": timestamps(at_ms),
                **dict(zip(names, features.T, strict=True)),
                "p": model.predict_proba(features)[:, 1],
                "target": data.target[drawn],
            }
        )

    production = rows("r", start_s, 14, 7_000)
    return MonitoredTable(
        name="tumors",
        train=rows("t", start_s - 28 * DAY_S, 28, 14_000),
        production=production,
        labels=delayed(rng, production, "id", "at", "target", (0.5, 2)),
        options="--id id --time at --label target --score p",
        by="day",
        window="1d",
        drift_s=drift_s,
        drifted=frozenset(shifts),
        outputs=frozenset({"score"}),
    )


GENERATED: dict[str, Callable[[], MonitoredTable]] = {
    "binary": binary,
    "regression": regression,
    "classes": classes,
    "shadow": shadow,
}


def main(arguments: list[str]) -> None:
    if not 1 <= len(arguments) <= 2 or arguments[0] not in GENERATED:
        raise SystemExit(f"usage: python -m tests.support.tables {'|'.join(GENERATED)} [FOLDER]")
    GENERATED[arguments[0]]().write(Path(*arguments[1:]))


def commands(table: MonitoredTable) -> list[list[str]]:
    """Return the commands of the README for tables in the current folder, as lists of words."""
    contract = f"contracts/{table.name}.yaml"
    lines = (
        f"barograph infer train.parquet --model {table.name} --version 1 {table.options} --out contracts",
        "barograph dev --clock replay",
        f"barograph load production.parquet labels.parquet --contract {contract} --version 1 --end",
        "barograph status",
        f"barograph compare train.parquet production.parquet {table.options} --by {table.by} --no-multivariate "
        "--json verdicts.json",
    )
    return [shlex.split(line) for line in lines]


if __name__ == "__main__":
    main(sys.argv[1:])
