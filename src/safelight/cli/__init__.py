"""The command line. ``safelight --help`` lists the verbs; each verb's own ``--help`` says the rest.

Exit codes: 0 done; 1 some files failed; 2 usage (a wrong name, option or value); 3 environment (disk, folder, device,
memory); 130 interrupted. Results go to standard output, one line a file, as JSON with ``--json``; errors, warnings and
progress go to standard error, and an error is one line. With ``-o -`` the picture has standard output to itself, and
the lines about it go to standard error.

Nothing heavy is imported before a verb runs, and the program's own help takes neither typer nor any verb's module.
"""

from typing import TYPE_CHECKING, Any

from safelight.cli.verbs import main

if TYPE_CHECKING:
    from safelight.cli.program import app

__all__ = ["app", "main"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - as the language has it
    if name == "app":
        from safelight.cli.program import app

        return app
    raise AttributeError(f"module 'safelight.cli' has no attribute {name!r}")
