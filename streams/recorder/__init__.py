"""The recorder: writes raw predictions and labels to ClickHouse."""
