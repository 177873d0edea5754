"""Recipes that come with autoseg, one JSON file each; `autoseg.planning.recipes` knows what they mean."""
