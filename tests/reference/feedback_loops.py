"""Coverage of the effects of planted feedback loops (`sketches.loops`), on features of real flights.

`python -m tests.reference.feedback_loops` prints the table of docs/loops.md in minutes. Each repetition draws 1,500
aircraft, with their first flights of the days of two months. A fifth of the outputs is explored, the policy decides the
others by the input. The next humidity is shifted by strength × output, in its standard deviations.
"""

import sys
from functools import cache

import numpy as np

from barograph_server.examples.flights.data import read_flights
from barograph_server.sketches.loops.effect import FloatArray, IntArray
from barograph_server.sketches.loops.measure import WITHIN_LAGS, LoopMeasurement, LoopRows, measure_loop

LOOPED = "humid"
FIELDS = (LOOPED, "temp", "visib", "wind_speed", "pressure", "distance", "seats")
DAY_MS = 86_400_000
ENTITIES = 1_500
EXPLORATION = 0.2
STRENGTHS = (0.0, 0.1, 0.2, 0.3, 0.5)
REPETITIONS = 200
SCORES = np.linspace(0.0, 1.0, 5)
CLASSES = np.array([0.0, 1.0])


@cache
def aircraft_days() -> tuple[IntArray, IntArray, dict[str, FloatArray]]:
    """Aircraft, day and inputs of each first flight; `LOOPED` has mean 0 and σ 1 over the later flights of pairs."""
    flights = read_flights().sort_by([("tailnum", "ascending"), ("scheduled_at", "ascending")])
    flights = flights.filter(np.isin(flights["month"].to_numpy(), (7, 8)))
    flights = flights.filter(flights["tailnum"].is_valid())
    aircraft = np.unique(flights["tailnum"].to_numpy(), return_inverse=True)[1]
    day = (flights["month"].to_numpy() - 7) * 31 + flights["day"].to_numpy()
    first = np.unique(aircraft * 100 + day, return_index=True)[1]
    inputs = {name: flights[name].to_numpy().astype(np.float64)[first] for name in FIELDS}
    aircraft, day = aircraft[first], day[first].astype(np.int64)
    is_over = day[:-1] + WITHIN_LAGS <= day.max() + 1
    follows = np.append(False, (np.diff(aircraft) == 0) & (np.diff(day) < WITHIN_LAGS) & is_over)
    looped = np.where(np.isnan(inputs[LOOPED]), np.nanmean(inputs[LOOPED]), inputs[LOOPED])
    return aircraft, day, inputs | {LOOPED: (looped - looped[follows].mean()) / looped[follows].std()}


def plant(strength: float, rng: np.random.Generator, *, is_class: bool, exploration: float = EXPLORATION) -> LoopRows:
    """Draw aircraft and outputs; strengths are per standard deviation of an explored score, or per class change."""
    all_aircraft, all_days, natural = aircraft_days()
    rows = np.flatnonzero(np.isin(all_aircraft, rng.choice(all_aircraft.max() + 1, ENTITIES, replace=False)))
    aircraft, day = np.unique(all_aircraft[rows], return_inverse=True)[1], all_days[rows]
    actions = CLASSES if is_class else SCORES
    scale = strength / (1.0 if is_class else float(SCORES.std()))
    humid, output, propensity = natural[LOOPED][rows], np.empty(len(rows)), np.full(len(rows), np.nan)
    shift = np.zeros(ENTITIES)
    for date in np.unique(day):
        now = np.flatnonzero(day == date)
        humid[now] += shift[aircraft[now]]
        odds = np.exp(1.4 * np.sign(humid[now])[:, None] * (actions - 0.5))
        chance = odds / odds.sum(axis=1, keepdims=True)
        action = (chance.cumsum(axis=1)[:, :-1] < rng.random((len(now), 1))).sum(axis=1)
        is_explored = rng.random(len(now)) < exploration
        policy = np.clip(0.5 + 0.3 * humid[now] + 0.2 * rng.standard_normal(len(now)), 0.0, 1.0)
        policy = np.round(policy * (len(actions) - 1)) / (len(actions) - 1)
        output[now] = np.where(is_explored, actions[action], policy)
        propensity[now] = np.where(is_explored, chance[np.arange(len(now)), action], np.nan)
        shift[aircraft[now]] = scale * (output[now] - 0.5)
    inputs = {name: values[rows] for name, values in natural.items()} | {LOOPED: humid}
    return LoopRows(aircraft, day * DAY_MS, output, propensity, inputs)


def measured(rows: LoopRows, *, is_class: bool) -> LoopMeasurement:
    return measure_loop(rows, DAY_MS, int(rows.at_ms.max()) + DAY_MS, is_class=is_class)


def naive(rows: LoopRows, *, is_class: bool) -> float:
    """Regress the next input on the output over all predictions, in the units of the effect."""
    pair = np.flatnonzero(np.diff(rows.entity) == 0)
    output, later = rows.output[pair], rows.inputs[LOOPED][pair + 1]
    slope = float(np.cov(output, later)[0, 1] / output.var(ddof=1))
    return slope * (1.0 if is_class else float(output.std())) / float((later - slope * output).std())


def coverage(strength: float, repetitions: int, *, is_class: bool) -> dict[str, float]:
    """Repeat one loop; coverage of the 95 % interval, means of estimates, and shares of verdicts."""
    rng = np.random.default_rng([66, is_class, round(10 * strength)])
    runs = [plant(strength, rng, is_class=is_class) for _ in range(repetitions)]
    results = [measured(rows, is_class=is_class) for rows in runs]
    effects, verdicts = [each.effects[LOOPED] for each in results], [each.verdict for each in results]
    names = ("likely", "not seen", "cannot tell")
    columns: dict[str, list[float]] = {
        "coverage": [effect.low <= strength <= effect.high for effect in effects],
        "estimate": [effect.value for effect in effects],
        "width": [effect.high - effect.low for effect in effects],
        "naive": [naive(rows, is_class=is_class) for rows in runs],
        **{name: [verdict.name == name for verdict in verdicts] for name in names},
        "another input": [bool({*verdict.fields} - {LOOPED}) for verdict in verdicts],
    }
    return {name: float(np.mean(values)) for name, values in columns.items()}


if __name__ == "__main__":
    for is_class in (False, True):
        for strength in STRENGTHS:
            row = coverage(strength, int(sys.argv[1]) if len(sys.argv) > 1 else REPETITIONS, is_class=is_class)
            cells = ", ".join(f"{name} {value:.3f}" for name, value in row.items())
            print(f"{'class' if is_class else 'score'}, strength {strength}: {cells}", flush=True)
