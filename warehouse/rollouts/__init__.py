"""Tables of rollouts: pairs and daily sums of a candidate, arms, prompts and proposals to roll back."""
