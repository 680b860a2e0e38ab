"""Names and order of the exact counts of one field, for memory, records, baseline files and ClickHouse alike.

A field's counts lie in one row: its cells (bins, or categories and `unseen`; then `null`), then the tail. To count
something else per field, add a member to `FieldColumn` and count it in `sketches.baseline.cells`.
"""

from enum import IntEnum


class FieldColumn(IntEnum):
    """A count that every field has beside its bins or categories.

    The number of a member is its index relative to the field's `n_cells`: negative members are the last cells, members
    from 0 on form the tail. So `n_cells + column` is the index within the field's counts, and a negative member indexes
    an array of cells from its end.
    """

    UNSEEN = -2
    """Values of categories that the baseline does not keep. Category fields only: elsewhere it is the last bin."""
    NULL = -1
    INVALID = 0
    BELOW = 1
    """Valid values under the lower limit; each is in a bin too."""
    ABOVE = 2
    """Valid values over the upper limit; each is in a bin too."""

    @property
    def key(self) -> str:
        """Name in baseline files, records and the columns of `panes` and `rollups`."""
        return "nulls" if self is FieldColumn.NULL else self.name.lower()


TAIL_COLUMNS: tuple[FieldColumn, ...] = tuple(column for column in FieldColumn if column >= 0)
"""Counts that follow a field's cells, in order."""
TAIL = len(TAIL_COLUMNS)
"""Number of counts that follow a field's cells."""
TAIL_KEYS: tuple[str, ...] = tuple(column.key for column in TAIL_COLUMNS)
COLUMN_KEYS: tuple[str, ...] = (FieldColumn.NULL.key, *TAIL_KEYS, FieldColumn.UNSEEN.key)
"""All counts of a field beside its bins or categories, in the order of the columns of `panes`."""

NEWER_KEYS: tuple[str, ...] = TAIL_KEYS[3:]
"""Counts that no baseline of the first format has; where they are unknown, they change no baseline's id."""

assert [int(column) for column in TAIL_COLUMNS] == list(range(TAIL)), "the tail is numbered from 0 without gaps"
