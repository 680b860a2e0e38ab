"""`barograph backtest`: an alert rule against a changed one."""
