"""From an anomaly map to findings: threshold, components, table, slice profile."""
