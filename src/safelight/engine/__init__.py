"""How networks run: devices, exact tiles, and what they cost."""
