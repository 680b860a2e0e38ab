"""`barograph dead-letters`: shows, replays and drops dead-lettered events."""
