"""Networks to compare pictures by: one file each, and the list of them."""
