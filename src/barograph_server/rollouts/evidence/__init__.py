"""`shadow`: the state of a candidate, its report, and evidence bundles."""
