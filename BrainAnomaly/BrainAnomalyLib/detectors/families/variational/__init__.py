"""Families with a variational or quantized code."""
