"""Recipes: how each shipped package is rebuilt from its data with one command."""
