"""Dead letters after they were put aside: read, replayed exactly once, dropped with a reason."""
