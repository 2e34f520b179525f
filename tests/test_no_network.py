"""The guard under which all tests run: no call to another machine stays unnoticed."""

import socket
import urllib.error
import urllib.request

import pytest


@pytest.mark.parametrize(
    "call",
    [
        lambda: socket.create_connection(("192.0.2.1", 80), 1),
        lambda: socket.create_connection(("example.com", 80), 1),
        lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 9)),
        lambda: socket.socket(socket.AF_INET6).connect(("2001:db8::1", 80)),
        lambda: urllib.request.urlopen("http://example.com/", timeout=1),
    ],
)
def test_a_call_to_another_machine_is_noticed_and_fails(no_network, call):
    with pytest.raises((OSError, urllib.error.URLError), match="tests call no other machine"):
        call()
    assert no_network
    no_network.clear()


def test_calls_to_this_machine_are_allowed(no_network):
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), 5).close()
    with pytest.raises(OSError):
        urllib.request.urlopen("http://weights.invalid/", timeout=1)
    assert not no_network
