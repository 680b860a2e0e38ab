"""Expressions for the intervals of rates that labels of people give."""

_Z = 1.959963984540054


def _wilson(part: str, whole: str, sign: str) -> str:
    """Return the expression for an end of Wilson's 95 % interval; 0 or 1 without rows."""
    share = f"{part} / {whole}"
    center = f"{share} + {_Z**2 / 2} / {whole}"
    half = f"{_Z} * sqrt({share} * (1 - {share}) / {whole} + {_Z**2 / 4} / ({whole} * {whole}))"
    return f"if({whole} = 0, {0 if sign == '-' else 1}, ({center} {sign} {half}) / (1 + {_Z**2} / {whole}))"


def rate_end(sign: str) -> str:
    """Return the expression for an end of the interval of `sketches.judges.strata`."""

    def width(part: str, whole: str, rate: str) -> str:
        end = _wilson(part, whole, sign)
        return f"{rate} - {end}" if sign == "-" else f"{end} - {rate}"

    flagged = width("flagged_faulty", "flagged_gold", "p1")
    unflagged = width("unflagged_faulty", "unflagged_gold", "p0")
    share = f"pow({_Z} * (p1 - p0), 2) * q * (1 - q) / judged"
    half = f"sqrt(pow(q * ({flagged}), 2) + pow((1 - q) * ({unflagged}), 2) + {share})"
    return f"greatest(0, rate - {half})" if sign == "-" else f"least(1, rate + {half})"
