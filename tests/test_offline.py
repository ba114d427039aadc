"""That the guard of conftest.py is awake: without it, R15 would prove nothing."""

import socket

import pytest


def test_r15_connections_to_elsewhere_fail():
    with socket.socket() as one, pytest.raises(PermissionError, match="this machine only"):
        one.connect(("192.0.2.1", 80))


def test_r15_this_machine_is_reached():
    with socket.socket() as server, socket.socket() as client:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client.connect(server.getsockname())
