"""Weights: own files, foreign formats, downloads, backbones, and where results come from."""
