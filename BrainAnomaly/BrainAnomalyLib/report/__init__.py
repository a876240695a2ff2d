"""Figures and reports of a finished detection."""
