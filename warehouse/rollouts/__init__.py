"""The daily sums of a candidate's pairs, and the criteria of its contract computed from them."""
