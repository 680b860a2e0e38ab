"""`barograph distribution`: the distribution of a field in any range of the past."""
