"""The statistics, without I/O and clock."""
