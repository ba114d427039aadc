"""Training: the loop, what one run consists of, and its pictures."""
