"""No test may reach beyond this machine (R15): whatever opens a connection to elsewhere fails."""

import sys

LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0", "::ffff:127.")


def _guard(event, arguments):
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        if isinstance(address, tuple) and not str(address[0]).startswith(LOOPBACK):
            raise PermissionError(f"a test reaches for {address[0]}: tests use this machine only")


sys.addaudithook(_guard)
