"""`barograph baseline`: list and show baselines, and create new ones from production data."""
