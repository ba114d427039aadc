"""Layers, initial weights and the optimiser that several networks share."""
