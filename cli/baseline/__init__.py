"""`barograph baseline`: which baselines there are, what one holds, and new ones from production."""
