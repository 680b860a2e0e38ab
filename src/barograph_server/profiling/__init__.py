"""Contracts and baselines from tables: what `barograph infer`, `baseline`, `distribution` and `codebook` compute."""
