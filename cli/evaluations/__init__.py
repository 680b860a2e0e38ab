"""`barograph evaluations`: how often answers are wrong, and how far evaluators can be trusted."""
