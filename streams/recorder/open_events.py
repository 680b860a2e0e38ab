"""Events that fit the format, with any features → columns: the features are concatenated and separated by kind."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from operator import attrgetter
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from barograph_server.streams.recorder.event_structs import ATTRIBUTES
from barograph_server.streams.recorder.map_entries import FLAG, NULL, OTHER, TEXT, MapEntries
from barograph_server.streams.recorder.rows import RecordedModel


class OpenEvents:
    """n events of one model that fit the format, with any features.

    Attributes:
        columns: the members of the events, by name.
        messages: each event's message, as an index into the batch.
    """

    def __init__(self, model: RecordedModel, events: list[Any], messages: Sequence[int]) -> None:
        self._model, self.messages = model, list(messages)
        self.columns = {name: list(map(attrgetter(attribute), events)) for name, attribute in ATTRIBUTES.items()}

    def filter(self, mask: NDArray[np.bool_]) -> None:
        """Drop the events that a mask of shape (n,) does not select."""
        flags = mask.tolist()
        self.columns = {name: list(compress(values, flags)) for name, values in self.columns.items()}
        self.messages = list(compress(self.messages, flags))

    def feature_arrays(self) -> tuple[dict[str, pa.Array], list[NDArray[np.int64]]]:
        """Separate features into `numbers`, `strings` and `nulls`; count those that the contract does not know."""
        model, features = self._model, MapEntries.of(self.columns["features"])
        features.replace_plain(model.hashed_names("features"))
        names = features.names.to_pylist()
        numeric = np.array([name in model.numeric for name in names], dtype=bool)
        features.parse_not_finite(numeric[features.code])
        if (features.kinds == OTHER).any():
            features.convert_to_text(features.kinds == OTHER)
        arrays = {
            "numbers": features.numbers(features.kinds <= FLAG),
            "strings": features.texts(features.kinds == TEXT),
            "nulls": features.keys(features.kinds == NULL),
        }
        unknown = np.array([name not in model.known for name in names], dtype=bool)
        return arrays, [features.count(unknown[features.code] & (features.kinds != NULL))]
