"""`barograph simulate`: replays history through the alert rules, or evaluates them continuously."""
