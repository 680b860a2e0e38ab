"""`barograph rebuild`: panes and verdicts of the past counted anew."""
