"""`barograph drill`: injects faults into recorded events, and checks that alerts fire and serving falls back."""
