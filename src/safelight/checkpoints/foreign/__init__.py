"""Reading what PyTorch pickled, without running it: the archive, the pickle in it, and the process that does both.

Nothing here imports torch or unpickles anything. ``archive`` finds the members of a zip file that stores them as they
are, ``legacy`` the rows of numbers in the kind of file before that, ``pickles`` walks the opcodes that describe the
tensors, and ``worker`` is the process in which all that happens, so that a file which defeats them costs that process
and nothing else.
"""
