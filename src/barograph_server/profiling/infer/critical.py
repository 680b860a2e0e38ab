"""Proposes critical fields: the features that explain most of a model's outputs on the training rows."""

from collections.abc import Mapping, Sequence

import numpy as np

from barograph_server.profiling.infer.columns import FloatArray, TooManyValues, read_numbers, read_texts
from barograph_server.profiling.infer.labels import MAX_CLASSES
from barograph_server.profiling.infer.profile import Roles
from barograph_server.profiling.infer.summarise import CellArray
from barograph_server.profiling.infer.tables import Table
from barograph_server.terminal import shorten_name

MAX_CRITICAL = 5
"""Fields that are proposed at most."""
LEAST_SHARE = 0.1
"""Share of the outputs' variance that a proposed field explains at least."""
MAX_OUTPUTS = 20
"""Scores of classes that are used, or else indicators of the most frequent classes."""
ROWS_PER_CELL = 20
"""Rows that a field needs for each of its cells: with fewer, ten bins may explain a tenth by chance."""
MAX_ROWS = 200_000
"""Rows that are used at most, evenly spaced."""
_PAGES = (
    "Drift and rates of critical fields page, and with a critical field every performance-drop; other fields open "
    "tickets. Large drops of performance always page."
)


class TrainingOutputs:
    """The outputs of a model on the training rows: its score, the scores of its classes, or else its class.

    Args:
        roles: The columns of score and class.
        scores: The columns of class probabilities.
    """

    def __init__(self, table: Table, roles: Roles, scores: Sequence[str]) -> None:
        self.name = ""
        self._rows = slice(None, None, max(1, -(-table.rows // MAX_ROWS)))
        self._values: list[FloatArray] = []
        columns = [roles.score] if roles.score is not None else scores[:MAX_OUTPUTS]
        if columns:
            self.name = "class probabilities" if roles.score is None else "score"
            self._values = [read_numbers(table, name)[self._rows].copy() for name in columns]
        elif roles.class_ is not None:
            try:
                texts = read_texts(table, roles.class_, MAX_CLASSES)
            except TooManyValues:
                return
            self.name, codes = "class", texts.codes[self._rows]
            self._values = [np.where(codes < 0, np.nan, codes == code) for code in texts.by_frequency()[:MAX_OUTPUTS]]

    def explained(self, cells: CellArray) -> float:
        """Return the share of the variance that the cells of a field explain; 0 without variance, or enough rows.

        It is Kelley's ε² (1935): the correlation ratio η² without what as many cells explain by chance. Otherwise
        categories with a row each would explain everything.

        Args:
            cells: Shape (n,): the cell of each training row.
        """
        within = total = 0.0
        cells = cells[self._rows]
        for values in self._values:
            is_known = np.isfinite(values)
            rows, known = np.count_nonzero(is_known), values[is_known]
            counts = np.bincount(cells[is_known])
            n_cells = np.count_nonzero(counts)
            if rows < ROWS_PER_CELL * n_cells:
                continue
            with np.errstate(over="ignore", invalid="ignore"):
                known = known - known.mean()
                sums = np.bincount(cells[is_known], known)
                squares = float(known @ known)
                between = float((sums[counts > 0] ** 2 / counts[counts > 0]).sum())
            within += (squares - between) / (rows - n_cells)
            total += squares / (rows - 1)
        return max(0.0, 1.0 - within / total) if total > 0.0 else 0.0


def propose_critical(outputs: TrainingOutputs, shares: Mapping[str, float]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Choose the critical fields.

    Args:
        shares: Feature → share of their variance that it explains.

    Returns:
        The chosen fields with the reason of each, and sentences on the choice and what pages.
    """
    if not outputs.name:
        return {}, (
            "No field is critical: without a column of scores or classes the importance of fields is unknown. Name it "
            "with --score, --scores or --class, or the fields with --critical.",
            _PAGES,
        )
    ordered = sorted(shares, key=lambda name: (-shares[name], name))
    chosen = [name for name in ordered[:MAX_CRITICAL] if shares[name] >= LEAST_SHARE]
    what = f"of the variance of the {outputs.name}"
    if not chosen:
        most = f" The most is {shares[ordered[0]]:.1%}, by {shorten_name(ordered[0])}." if ordered else ""
        return {}, (
            f"No field is critical: none explains {LEAST_SHARE:.0%} {what} on the training rows.{most} Name fields "
            "with --critical.",
            _PAGES,
        )
    listed = ", ".join(f"{shorten_name(name)} ({shares[name]:.0%})" for name in chosen)
    return {name: f"critical: explains {shares[name]:.0%} {what}" for name in chosen}, (
        f"Critical fields, by the share {what} on the training rows that each explains (at least {LEAST_SHARE:.0%}, at "
        f"most {MAX_CRITICAL} fields): {listed}. Choose others with --critical.",
        _PAGES,
    )
