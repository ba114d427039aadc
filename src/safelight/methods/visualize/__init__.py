"""Views: how a network is looked into, one paper one file."""
