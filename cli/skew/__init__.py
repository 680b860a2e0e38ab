"""`barograph skew`: what was served against what training computes, prediction by prediction."""
