"""Removing what JPEG leaves: one paper a file."""
