"""The command line. ``safelight --help`` lists the verbs; each verb's own ``--help`` says the rest.

Exit codes: 0 done; 1 some files failed; 2 usage (a wrong name, option or value); 3 environment (disk, folder, device,
memory); 130 interrupted. Results go to standard output, one line a file, as JSON with ``--json``; errors, warnings and
progress go to standard error, and an error is one line. With ``-o -`` the picture has standard output to itself, and
the lines about it go to standard error.

Nothing heavy is imported before a verb runs.
"""

from safelight.cli.program import app, main

__all__ = ["app", "main"]
