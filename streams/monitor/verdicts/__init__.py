"""Verdicts: due windows, their comparison with training and with one another, and the resulting rows."""
