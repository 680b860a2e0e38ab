"""The label column of a training table: its type, its classes, and how it fits the score and the predicted class."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pyarrow as pa
from barograph.contract import LabelSpec
from barograph.contract.check import label_kind
from barograph.contract.kinds import name_fault
from barograph.contract.label_values import (
    TRUE,
    LabelReader,
    describe_label,
    flag_value,
    has_open_classes,
    positive_value,
)
from numpy.typing import NDArray

from barograph_server.profiling.infer.columns import FloatArray, TextColumn, TooManyValues, read_numbers, read_texts
from barograph_server.profiling.infer.errors import OptionError
from barograph_server.profiling.infer.profile import Roles
from barograph_server.profiling.infer.tables import Table, is_text, plain_type

MAX_CLASSES = 1000
"""Maximum number of distinct labels that the contract lists."""
BINARY = 2
DEFAULT_THRESHOLD = LabelSpec(type="bool").threshold
_SURE_Z = 5.0
"""Standard errors of a difference of mean scores from which it shows which class the score belongs to."""
_MAX_VALUES = 5
"""Values that a message names."""


@dataclass(slots=True)
class InferredLabel:
    """The label of the contract, with the reason, and what does not fit the other columns."""

    spec: LabelSpec | None = None
    reason: str = ""
    warnings: list[str] = field(default_factory=list)


def infer_label(table: Table, roles: Roles, scores: Sequence[str]) -> InferredLabel:
    """Infer the type and the classes of the labels, and compare them with the score and the predicted class.

    Args:
        scores: The classes in the names of the probability columns.

    Raises:
        OptionError: the column contains timestamps or durations, or the column of classes contains fractions.
    """
    classes = _read_classes(table, roles)
    if roles.label is None:
        return InferredLabel()
    kind = plain_type(table.columns[roles.label])
    if pa.types.is_temporal(kind):
        raise OptionError(
            f"--label {roles.label}: the column has type {kind}; a label is a class, a boolean or a number"
        )
    column = _Labels(table, roles, scores, classes)
    label = column.infer()
    if label.spec is not None:
        if label_kind(label.spec) == "binary":
            column.learn_threshold(label)
        label.warnings += column.warn(label.spec)
    return label


def best_threshold(score: FloatArray, is_positive: NDArray[np.bool_]) -> float:
    """Return the threshold at or above which most scores are positive and below which most are not.

    Of several it is 0.5, or else a number with few digits.

    Args:
        score: shape (n,), from 0 to 1.
        is_positive: whether the predicted class of each row is the positive one, shape (n,).
    """
    order = np.argsort(score, kind="stable")
    ascending, positive = score[order], is_positive[order]
    # The rows that differ if the threshold is between the rows k − 1 and k.
    differing = np.append(0, np.cumsum(positive)) + np.append(np.cumsum(~positive[::-1])[::-1], 0)
    is_end = np.concatenate(([True], np.diff(ascending) > 0.0, [True]))
    k = int(np.argmin(np.where(is_end, differing, score.size + 1)))
    # Beside both classes, a threshold that all rows are above or below means that the score is not the class's.
    is_unrelated = k in (0, score.size) and np.ptp(is_positive.astype(np.int64)) > 0
    if is_unrelated or differing[k] == differing[np.searchsorted(ascending, DEFAULT_THRESHOLD)]:
        return DEFAULT_THRESHOLD
    low, high = float(ascending[k - 1]) if k else 0.0, float(ascending[k]) if k < score.size else 1.0
    rounded = (round((low + high) / 2.0, digits) for digits in range(1, 16))
    return next((each for each in rounded if low < each <= high), high)


def _read_classes(table: Table, roles: Roles) -> TextColumn | None:
    """Read the predicted classes; None without them, or if there are too many."""
    if roles.class_ is None:
        return None
    if pa.types.is_floating(plain_type(table.columns[roles.class_])):
        numbers = read_numbers(table, roles.class_)
        fractions = numbers[np.isfinite(numbers) & (numbers != np.floor(numbers))]
        if fractions.size:
            raise OptionError(
                f"--class {roles.class_}: the column has fractions such as {fractions[0]:g}, which are not classes; if "
                "it is the score, name it with --score"
            )
    try:
        return read_texts(table, roles.class_, MAX_CLASSES)
    except TooManyValues:
        return None


class _Labels:
    """The labels of a table beside its scores and classes."""

    def __init__(self, table: Table, roles: Roles, scores: Sequence[str], classes: TextColumn | None) -> None:
        assert roles.label is not None
        self.name = roles.label
        self._table, self._roles, self._scores, self._classes = table, roles, scores, classes
        self._score = read_numbers(table, roles.score) if roles.score is not None else None
        self._texts: TextColumn | None = None
        """Labels as texts; None if they are not classes."""

    def infer(self) -> InferredLabel:
        kind = plain_type(self._table.columns[self.name])
        if not (is_text(kind) or pa.types.is_boolean(kind)):
            values = read_numbers(self._table, self.name)
            valid = values[np.isfinite(values)]
            are_flags = bool(((valid == 0) | (valid == 1)).all())
            is_whole = bool((valid == np.floor(valid)).all())
            has_classes = self._roles.class_ is not None or bool(self._scores)
            is_pair = is_whole and valid.size > 0 and np.unique(valid).size <= BINARY and self._is_probability()
            if not (are_flags or (is_whole and has_classes) or is_pair):
                return InferredLabel(LabelSpec(type="float"), "a number")
        try:
            self._texts = read_texts(self._table, self.name, MAX_CLASSES)
        except TooManyValues as error:
            return InferredLabel(LabelSpec(type="category"), f"classes; {error}: not listed")
        observed = self._texts.values
        if self._scores and self._roles.score is None:
            return self._list_classes()
        if all(flag_value(value) is not None for value in observed):
            return self._flags()
        if len(observed) <= BINARY and len(self._scores) <= BINARY:
            return self._pair()
        return self._list_classes()

    def warn(self, spec: LabelSpec) -> list[str]:
        """Say what does not fit the label, and what to do."""
        warnings = []
        if self._texts is not None and len(self._texts.values) < BINARY:
            values = f"only the value {self._texts.values[0]!r}" if self._texts.values else "no value"
            warnings.append(
                f"The label {self.name} has {values} in all rows: AUC and other metrics need two or more. Check "
                "--label, or add rows with the other outcomes."
            )
        if label_kind(spec) == "binary":
            warnings += self._score_warnings(spec)
        elif label_kind(spec) == "classes" and not self._scores and self._score is not None:
            warnings.append(
                f"The label {self.name} has {len(spec.classes)} classes, so the score {self._roles.score} is not "
                "measured: name the columns of the probability of each class with --scores."
            )
        return warnings + self._class_warnings(spec)

    def learn_threshold(self, label: InferredLabel) -> None:
        """Set the threshold of the score that reproduces the predicted class; warn if none does."""
        spec, score, classes = label.spec, self._score, self._classes
        if spec is None or score is None or classes is None or not self._is_probability():
            return
        values = [LabelReader(spec).read(value) for value in classes.values]
        positive = positive_value(spec) == TRUE if spec.type == "bool" else spec.positive
        # A class without a form is a negative one, or else undeclared.
        is_known = np.array([value is not None or has_open_classes(spec) for value in values] + [False])[classes.codes]
        is_positive = np.array([value == positive for value in values] + [False])[classes.codes]
        used = is_known & np.isfinite(score)
        score, is_positive = score[used], is_positive[used]
        if not score.size:
            return
        threshold = best_threshold(score, is_positive)
        differing = int(np.count_nonzero((score >= threshold) != is_positive))
        label.spec = msgspec.structs.replace(spec, threshold=threshold)
        names = f"class column {self._roles.class_}", f"score column {self._roles.score}"
        if differing:
            label.warnings.append(
                f"No threshold of the {names[1]} reproduces the {names[0]}: at {threshold:g}, {differing:,} of "
                f"{score.size:,} rows differ. Metrics use the class; accuracy, precision, recall and f1 are only "
                "estimated without labels if this changes them little."
            )
        elif threshold != DEFAULT_THRESHOLD:
            label.reason += f"; threshold {threshold:g}, at which the {names[1]} gives the {names[0]}"

    # ------------------------------------------------------------------------------------------ types

    def _flags(self) -> InferredLabel:
        """Labels that are forms of true and false; classes of other names are assigned by their agreement."""
        assert self._texts is not None
        spec = LabelSpec(type="bool", positive=True if self._score is not None else None)
        words = sorted(self._texts.values, key=lambda value: flag_value(value) != TRUE)
        reason = " and ".join(words[:_MAX_VALUES])
        if not words:
            return InferredLabel(spec, "no value, taken for true or false")
        if set(words) != {"true", "false"}:
            reason += ", read as true and false" if len(words) > 1 else f", read as {flag_value(words[0])}"
        names = self._class_names()
        if names is not None:
            spec = msgspec.structs.replace(spec, positive=names[0], negative=names[1])
            reason += f"; the class {names[0]} is true, because it agrees with more labels than {names[1]}"
        return InferredLabel(spec, reason)

    def _class_names(self) -> tuple[str, str] | None:
        """Return the classes of true and false if both have names that are no forms of a flag; otherwise None."""
        texts, classes = self._texts, self._classes
        if texts is None or classes is None or len(classes.values) != BINARY:
            return None
        if any(flag_value(value) is not None or name_fault(value) is not None for value in classes.values):
            return None
        both = (texts.codes >= 0) & (classes.codes >= 0)
        is_true = np.array([flag_value(value) == TRUE for value in texts.values] + [False])[texts.codes[both]]
        agreement = np.count_nonzero(is_true == (classes.codes[both] == 0))
        first, second = classes.values
        return (first, second) if 2 * agreement >= np.count_nonzero(both) else (second, first)

    def _pair(self) -> InferredLabel:
        """Two classes with names: the positive one has the higher mean score, or else fewer rows."""
        assert self._texts is not None
        names = self._texts.values
        if len(names) < BINARY or any(name_fault(name) is not None for name in names):
            return InferredLabel(LabelSpec(type="category"), "classes")
        means = self._mean_scores([self._texts.codes == code for code in range(BINARY)])
        if means is not None and means[0] != means[1]:
            positive = int(means[1] > means[0])
            why = "its mean score is higher"
        else:
            positive = int((-self._texts.counts[1], names[1]) > (-self._texts.counts[0], names[0]))
            why = "it has fewer rows" if self._texts.counts[0] != self._texts.counts[1] else "of the order of names"
        name, other = names[positive], names[1 - positive]
        spec = LabelSpec(type="bool", positive=name, negative=other)
        if flag_value(other) == positive_value(spec):  # such as the classes 1 and 2
            spec = LabelSpec(type="category", positive=name)
        return InferredLabel(spec, f"{name} and {other}; {name} is positive, because {why}")

    def _list_classes(self) -> InferredLabel:
        """List the classes of a model with more than two, or with a score for each."""
        assert self._texts is not None
        known = set(self._scores)
        values = [*self._texts.values, *(self._classes.values if self._classes is not None else ())]
        reader = LabelReader(LabelSpec(type="category", classes=tuple(sorted(known)) or ("",)))
        known |= {value for value in values if name_fault(value) is None and reader.read(value) is None}
        if len(known) < BINARY:
            return InferredLabel(LabelSpec(type="category"), "classes")
        missing = sorted(known - set(self._scores)) if self._scores else []
        note = f"; no score column for {', '.join(missing[:_MAX_VALUES])}" if missing else ""
        spec = LabelSpec(type="category", classes=tuple(sorted(known)))
        return InferredLabel(spec, f"{len(known):,} classes{note}")

    # ------------------------------------------------------------------------------------------ score and class

    def _is_probability(self) -> bool:
        if self._score is None:
            return False
        valid = self._score[np.isfinite(self._score)]
        return bool(valid.size and ((valid >= 0) & (valid <= 1)).all())

    def _mean_scores(self, masks: Sequence[np.ndarray]) -> list[float] | None:
        """Return the mean score of some rows each; None without scores, or if rows have none."""
        if self._score is None:
            return None
        parts = [self._score[mask & np.isfinite(self._score)] for mask in masks]
        return [float(part.mean()) for part in parts] if all(part.size for part in parts) else None

    def _score_warnings(self, spec: LabelSpec) -> list[str]:
        if self._score is None:
            return []
        name = self._roles.score
        valid = self._score[np.isfinite(self._score)]
        outside = int(np.count_nonzero((valid < 0) | (valid > 1)))
        if outside:
            low, high = float(valid.min()), float(valid.max())
            remedy = "convert it to the probability of the positive class"
            if low >= 0 and high <= 100:
                remedy = "divide it by 100"
            return [
                f"The score {name} is between {low:g} and {high:g}, but the label {self.name} has two values: a score "
                f"outside [0, 1] is not measured ({outside:,} of {valid.size:,} rows). In the table and in what you "
                f"publish, {remedy}."
            ]
        if self._texts is None:
            return []
        reader = LabelReader(spec)
        positive = positive_value(spec) == TRUE if spec.type == "bool" else spec.positive
        is_positive = np.array([reader.read(value) == positive for value in self._texts.values] + [False])
        mask = is_positive[self._texts.codes]
        rest = ~mask & (self._texts.codes >= 0)
        if not _is_lower(self._score[mask], self._score[rest]):
            return []
        means = self._mean_scores([mask, rest])
        assert means is not None
        word = str(spec.positive).lower()
        other = "false" if spec.positive is True else "the other class"
        return [
            f"The score {name} is lower where the label is {word} (mean {means[0]:.3g}, otherwise {means[1]:.3g}). If "
            f"it is the probability of {other}, set label: positive in the contract to {other}."
        ]

    def _class_warnings(self, spec: LabelSpec) -> list[str]:
        classes = self._classes
        if classes is None or not classes.values:
            return []
        if spec.type == "float":
            return [f"The label {self.name} is a number, so the class {self._roles.class_} is not measured."]
        if has_open_classes(spec):
            return []
        reader = LabelReader(spec)
        unknown = [value for value in classes.values if reader.read(value) is None]
        if not unknown:
            return []
        rows = sum(int(classes.counts[classes.values.index(value)]) for value in unknown)
        listed = ", ".join(map(repr, unknown[:_MAX_VALUES])) + (", …" if len(unknown) > _MAX_VALUES else "")
        return [
            f"The class {self._roles.class_} has {listed} ({rows:,} rows), but the label {self.name} is "
            f"{describe_label(spec)}: these predictions would not be measured (undeclared_class). Use the same values "
            "in both columns."
        ]


def _is_lower(first: FloatArray, second: FloatArray) -> bool:
    """Whether the mean of the first scores is lower by many standard errors."""
    first, second = first[np.isfinite(first)], second[np.isfinite(second)]
    if min(first.size, second.size) < BINARY:
        return False
    error = float(np.sqrt(first.var() / first.size + second.var() / second.size))
    return float(second.mean() - first.mean()) > _SURE_Z * error
