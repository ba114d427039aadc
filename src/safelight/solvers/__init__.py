"""Solvers that several methods share: linear inverse problems, descent on a picture."""
