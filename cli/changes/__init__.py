"""`barograph changes`: report changes, list them, and rank them as causes of major verdicts."""
