"""`barograph skew`: compares served features with those that training computes, prediction by prediction."""
