"""Families that noise a scan and denoise it step by step."""
