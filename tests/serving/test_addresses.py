"""Who can reach an address."""

import pytest

from textgen.serving.addresses import host_of, is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST"])
def test_own_addresses(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "localhost.evil.com", "", "1"])
def test_addresses_that_others_reach(host):
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("header", "host"),
    [("localhost:80", "localhost"), ("[::1]:80", "::1"), ("::", ":"), ("a", "a"), ("", "")],
)
def test_the_host_of_a_header(header, host):
    assert host_of(header) == host
