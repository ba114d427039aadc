"""Giving a picture the look of another one, or making a texture of it: one paper a file."""
