"""The server: an HTTP API that another program can trust, and beside it the page. Both are derived from the catalog."""
