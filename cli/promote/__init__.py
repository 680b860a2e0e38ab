"""`promote`: the decision about a candidate."""
