"""Tables of processors and of serving, and the queries of `status` and `report`."""
