"""`barograph simulate`: the alert rules over recorded history, or now."""
