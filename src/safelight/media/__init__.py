"""Files in and out: the only part that knows media libraries."""
