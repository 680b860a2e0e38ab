"""Candidates, arms and prompts: their comparison, the policy, and the evidence of a decision."""
