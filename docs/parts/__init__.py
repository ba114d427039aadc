"""What makes the generated parts of the documents: each function returns the Markdown of one."""
