"""`barograph rebuild`: recounts panes and verdicts of the past."""
