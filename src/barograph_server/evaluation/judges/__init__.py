"""`barograph judges`: whether judges still judge as they did at their release."""
