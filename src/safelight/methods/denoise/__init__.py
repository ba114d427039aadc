"""Removing noise: one paper a file."""
