"""Nodes of the scene that results are made of: links, volumes, segments, colors, tables, places."""
