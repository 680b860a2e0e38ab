"""Sums of numbers with decimals, as SQL: whole numbers are added up, so any order of addition gives the same bits."""

SCALE = 2**50
"""Factor of the numbers while they are added up."""


def whole(value: str, integer: str = "toInt128") -> str:
    """Return a value as a whole number; `integer` is the SQL function that converts it."""
    return f"{integer}(round({value} * {SCALE}))"


def sum_if(value: str, condition: str = "1", integer: str = "toInt128") -> str:
    """Return a sum in whole numbers; the value is finite under the condition."""
    return f"sum({whole(f'if({condition}, {value}, 0.)', integer)})"


def unscaled(total: str) -> str:
    """Return a sum in whole numbers as a number with decimals."""
    return f"toFloat64({total}) / {SCALE}"
