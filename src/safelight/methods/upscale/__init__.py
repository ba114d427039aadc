"""Enlarge a picture: from interpolation to networks."""
