"""`barograph debt`: what a model's contract and events contain that nothing uses, and features with unclear origin."""
