"""What several methods that solve for a picture share: linear inverse problems, descent on a picture."""
