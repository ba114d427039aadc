"""Safe reading of PyTorch checkpoints: nothing in them is executed.

Nothing here imports torch or unpickles anything. ``archive`` reads the zip format, ``legacy`` the format before it,
``pickles`` interprets the opcodes that describe the tensors, and ``reader_process`` is the process in which all that
happens, so that a file which exploits a bug can harm only that process.
"""
