"""A server for the tests of a file."""

import pytest

from support.server import running


@pytest.fixture(scope="module")
def server():
    with running() as made:
        yield made
