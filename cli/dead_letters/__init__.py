"""`barograph dead-letters`: events that were put aside, and what became of them."""
