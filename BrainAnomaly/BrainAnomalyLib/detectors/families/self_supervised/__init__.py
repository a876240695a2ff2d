"""Families that learn to undo or to find what was put into healthy scans."""
