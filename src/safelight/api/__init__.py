"""The Python functions of ``import safelight``.

A picture is given as a path, the bytes of a file, a ``Picture``, a PIL image, a numpy array or a torch tensor, and the
result is of the same kind (for a path, a ``Picture``). The work is that of ``inference``, as on the command line, so
the same input gives the same pixels. Heavy packages are imported by the functions that need them.
"""
