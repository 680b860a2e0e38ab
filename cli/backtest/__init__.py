"""`barograph backtest`: compares an alert rule with a changed version."""
