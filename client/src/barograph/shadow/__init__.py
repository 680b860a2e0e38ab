"""A shadow: a candidate model that answers the requests of the primary in the same process."""
