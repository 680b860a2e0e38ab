"""`barograph consumers`: who reads topics, tables and dashboards, compared with what contracts declare."""
