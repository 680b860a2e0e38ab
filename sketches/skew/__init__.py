"""Train-serve skew: values that were served compared with values recomputed by the training pipeline."""
