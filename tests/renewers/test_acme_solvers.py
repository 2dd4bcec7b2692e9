"""Solvers show what a server wants to see, to everybody, and no longer than it is wanted."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import httpx
import pytest

from mtls_client import ConfigurationError, RenewalError
from mtls_client.renewers import DNS, Challenge, Solver, Standalone, Webroot
from tests.servers.processes import free_port


def challenge(token: str = "dG9rZW4", domain: str = "orders.test") -> Challenge:
    return Challenge(kind="http-01", domain=domain, token=token, value=f"{token}.thumbprint")


@pytest.mark.parametrize("solver", [Standalone(), Webroot("."), DNS(print, print)], ids=repr)
def test_they_are_solvers(solver: object) -> None:
    assert isinstance(solver, Solver)


def test_a_page_is_shown_while_it_is_wanted() -> None:
    """Two pages at a time; nothing else; and the port is free afterwards."""
    port = free_port()
    solver, one, other = Standalone(port, "127.0.0.1"), challenge("b25l"), challenge("b3RoZXI")
    base = f"http://127.0.0.1:{port}"
    solver.present(one)
    solver.present(other)
    assert httpx.get(base + one.path).text == "b25l.thumbprint"
    assert httpx.get(base + other.path).text == "b3RoZXI.thumbprint"
    assert httpx.get(f"{base}/.well-known/acme-challenge/../../etc/passwd").status_code == 404
    assert "Python" not in httpx.get(base).headers["server"]
    solver.remove(one)
    assert httpx.get(base + one.path).status_code == 404
    solver.remove(other)
    with pytest.raises(httpx.ConnectError):
        httpx.get(base)


@pytest.mark.parametrize("address", ["127.0.0.1", "[::1]"])
def test_all_addresses_are_listened_on(address: str) -> None:
    """Servers prefer IPv6 where the name has such an address."""
    if not socket.has_dualstack_ipv6() and ":" in address:
        pytest.skip("this machine has no IPv6")
    port = free_port()
    solver, one = Standalone(port), challenge()
    solver.present(one)
    try:
        assert httpx.get(f"http://{address}:{port}{one.path}").text == one.value
    finally:
        solver.remove(one)


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RenewalError, match=f"cannot listen on port {port}") as caught:
            Standalone(port, "127.0.0.1").present(challenge())
    assert caught.value.code == "acme_port"
    assert str(port) in str(caught.value.hint)


def test_removing_what_was_never_shown_is_nothing(tmp_path: Path) -> None:
    Standalone(free_port()).remove(challenge())
    Webroot(tmp_path).remove(challenge())


def test_a_file_may_be_read_by_the_web_server(tmp_path: Path) -> None:
    """Whatever the umask; it is there whole, with nothing beside it, until it is removed."""
    old = os.umask(0o077)
    try:
        Webroot(tmp_path).present(challenge())
    finally:
        os.umask(old)
    (page,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert page == tmp_path / ".well-known" / "acme-challenge" / "dG9rZW4"
    assert page.read_text() == "dG9rZW4.thumbprint"
    assert page.stat().st_mode & 0o777 == 0o644
    assert page.parent.stat().st_mode & 0o555 == 0o555
    Webroot(tmp_path).remove(challenge())
    assert not page.exists()


def test_a_folder_that_is_missing_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such folder"):
        Webroot(tmp_path / "www").present(challenge())
    assert list(tmp_path.iterdir()) == []


def test_functions_get_the_name_and_the_value_of_the_record() -> None:
    done: list[tuple[str, ...]] = []
    solver = DNS(lambda *one: done.append(("add", *one)), lambda *one: done.append(("cut", *one)))
    one = Challenge(kind="dns-01", domain="orders.test", token="dG9rZW4", value="digest")
    solver.present(one)
    solver.remove(one)
    assert done == [
        ("add", "_acme-challenge.orders.test", "digest"),
        ("cut", "_acme-challenge.orders.test", "digest"),
    ]


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_process_starts_over() -> None:
    """It has neither the thread nor the lock, and leaves the parent's pages alone."""
    port = free_port()
    solver, one = Standalone(port, "127.0.0.1"), challenge()
    solver.present(one)
    if (child := os.fork()) == 0:
        try:
            solver.remove(one)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert httpx.get(f"http://127.0.0.1:{port}{one.path}").text == one.value
    solver.remove(one)
