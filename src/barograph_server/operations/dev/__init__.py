"""`barograph dev`: the local stack and one processor of each kind."""
