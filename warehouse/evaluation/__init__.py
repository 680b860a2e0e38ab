"""Tables of evaluations: judges, reviews, runs of suites and rates."""
