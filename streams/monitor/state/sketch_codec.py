"""Opens and merges the encoded sketches of one series."""

from collections.abc import Sequence

from barograph.contract import Contract

from barograph_server.sketches.baseline.layout import Layout
from barograph_server.sketches.sketch.categorical import UnseenCategories
from barograph_server.sketches.sketch.envelope import EnvelopeError, MixedSketches
from barograph_server.sketches.sketch.merge import merge_moments
from barograph_server.sketches.sketch.numeric import NumericSketch, numeric_sketch
from barograph_server.streams.monitor.state.pane import SliceSketch
from barograph_server.streams.records import RecordError

FieldSketch = NumericSketch | UnseenCategories


class SketchCodec:
    """Opens the sketches of a layout's fields, of the types that a contract requests.

    Args:
        contract: its field definitions; a field that it does not define has a KLL sketch.
    """

    def __init__(self, layout: Layout, contract: Contract) -> None:
        self.contract = contract
        self._fields = layout.fields
        self._types = {field.name: field.sketch for field in contract.fields}

    def open(self, field_index: int, data: bytes) -> FieldSketch:
        """Open a field's sketch.

        Raises:
            RecordError: the bytes are damaged or encode another type of sketch.
        """
        field = self._fields[field_index]
        try:
            if field.kind == "category":
                return UnseenCategories.from_bytes(data)
            return self._open_numeric(field_index, data)
        except (EnvelopeError, ValueError) as error:
            raise self._damaged(field_index, error) from error

    def open_if_same_type(self, field_index: int, data: bytes) -> NumericSketch | None:
        """Open a numeric field's sketch; None if it is of the type that an earlier contract requested.

        Raises:
            RecordError: the bytes are damaged.
        """
        try:
            return self._open_numeric(field_index, data)
        except MixedSketches:
            return None
        except (EnvelopeError, ValueError) as error:
            raise self._damaged(field_index, error) from error

    def merge_slice_sketches(self, field_index: int, sketches: Sequence[SliceSketch]) -> SliceSketch | None:
        """Merge the sketches of one slice and field; None if they differ in type.

        Raises:
            RecordError: the bytes of a sketch are damaged.
        """
        first, *others = sketches
        if not others:
            return first
        moments, sketch = first.moments.copy()[None], self.open_if_same_type(field_index, first.sketch)
        for other in others:
            opened = self.open_if_same_type(field_index, other.sketch)
            if sketch is None or opened is None:
                return None
            merge_moments(moments, other.moments[None])
            sketch.merge(opened)
        return None if sketch is None else SliceSketch(moments[0], sketch.to_bytes())

    def _open_numeric(self, field_index: int, data: bytes) -> NumericSketch:
        field = self._fields[field_index]
        return numeric_sketch(field.integer, self._types.get(field.name, "kll"), data)

    def _damaged(self, field_index: int, error: Exception) -> RecordError:
        return RecordError(f"the sketch of field {self._fields[field_index].name} cannot be opened: {error}")
