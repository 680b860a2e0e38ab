"""`barograph prompts`: register, list, show, compare, label and roll back prompts."""
