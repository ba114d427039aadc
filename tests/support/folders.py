"""What is in a folder."""


def tree(folder):
    """The contents of every file below a folder, by its path within it."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def names(folder):
    """The names of all that is in a folder."""
    return sorted(p.name for p in folder.iterdir())
