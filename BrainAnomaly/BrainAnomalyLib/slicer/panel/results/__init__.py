"""The panel's part about results: threshold, findings, slice profile, views, export."""
