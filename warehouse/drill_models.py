"""The names of models of drills. Queries and lists of the models of an installation leave these out."""

PREFIX = "drill."
"""Begins the name of each model of a drill; no other model may have such a name."""
NO_DRILLS = f"NOT startsWith(model, '{PREFIX}')"
"""SQL condition on the column `model`."""


def is_drill(model: str) -> bool:
    return model.startswith(PREFIX)
