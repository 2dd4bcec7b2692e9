"""A real gnome-keyring, unlocked, locked and empty, on a message bus of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from mtls_client import Identity
from mtls_client.testing import CA
from tests.components import require

ROOT = Path(__file__).parents[2]

Script: TypeAlias = Callable[..., str]

# the daemon runs in the foreground as a child of this script, which ends it
BEGIN = """
import subprocess, sys, time
import secretstorage
from jeepney import DBusAddress, new_method_call

def started(*options, password=b""):
    daemon = subprocess.Popen(
        ["gnome-keyring-daemon", "--foreground", "--components=secrets", *options],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    daemon.stdin.write(password)
    daemon.stdin.close()
    # not by a call to the service, for which the bus would start a second daemon
    asked = DBusAddress("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus")
    name = new_method_call(asked, "NameHasOwner", "s", ("org.freedesktop.secrets",))
    deadline = time.monotonic() + 60
    with secretstorage.dbus_init() as connection:
        while not connection.send_and_get_reply(name).body[0]:
            assert time.monotonic() < deadline and daemon.poll() is None
            time.sleep(0.02)
    return daemon

def ended(daemon):
    daemon.terminate()
    daemon.wait(10)

def code_of(act):
    try:
        act()
    except KeyringError as error:
        return error.code  # of a prompt that waits for its user: keyring_timeout
    return "no error"

from pathlib import Path
from mtls_client import Identity, IdentityNotFoundError, KeyringError
from mtls_client.sources.keyring import KeyringSource
"""


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Script]:
    """Run Python under a session bus, in a home of its own."""
    require("gnome-keyring-daemon", "apt install gnome-keyring")
    bus = require("dbus-run-session", "apt install dbus-daemon")
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("XDG_", "DBUS_", "GNOME_KEYRING", "PYTHON_KEYRING"))
        and name not in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_AUTH_SOCK")
    }
    # the path of a socket is short
    with tempfile.TemporaryDirectory(prefix="kr", ignore_cleanup_errors=True) as runtime:
        environment |= {
            "HOME": str(tmp_path),
            "XDG_RUNTIME_DIR": runtime,
            "PYTHONPATH": str(ROOT),
            "PYTHON_KEYRING_BACKEND": "keyring.backends.SecretService.Keyring",
        }

        def run(code: str, *arguments: str) -> str:
            done = subprocess.run(
                [bus, "--", sys.executable, "-c", BEGIN + code, *arguments],
                env=environment,
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=90,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        yield run


@pytest.fixture(scope="session")
def long_chain() -> CA:
    ca = CA()
    for number in range(6):
        ca = ca.intermediate(f"Intermediate {number}")
    return ca


def test_identities_make_the_round_trip(script: Script, tmp_path: Path, long_chain: CA) -> None:
    small, large = long_chain.issue("small"), long_chain.issue("large", key="rsa4096")
    for name, one in (("small", small), ("large", large)):
        one.save_pem(tmp_path / f"{name}.pem", password=None)
    output = script(
        """
daemon = started("--unlock", password=b"pw")
for name in ("small", "large", "small"):
    one = Identity.from_pem(Path(f"{name}.pem").read_bytes())
    KeyringSource(name).save(one)
    back = KeyringSource(name).load()
    assert back.fingerprint == one.fingerprint and back.chain == one.chain
    assert back.private_key_pem() == one.private_key_pem()
print(KeyringSource.list())
before = KeyringSource("small").digest()
KeyringSource("small").save(Identity.from_pem(Path("large.pem").read_bytes()))
print(KeyringSource("small").digest() != before)
ended(daemon)

daemon = started("--unlock", password=b"pw")
print(KeyringSource("small").load().subject)
for name in KeyringSource.list():
    KeyringSource(name).delete()
print(KeyringSource.list())
collection = secretstorage.Collection(secretstorage.dbus_init())
print([one.get_label() for one in collection.get_all_items()])
try:
    KeyringSource("small").load()
except IdentityNotFoundError as error:
    print(error.args[0])
ended(daemon)
"""
    )
    assert output.splitlines() == [
        "['large', 'small']",
        "True",
        "CN=large",
        "[]",
        "[\"Password for '#index' on 'mtls-client'\"]",
        "keyring:small: no such identity in the keyring",
    ]


def test_a_locked_keyring_is_told_without_a_prompt(
    script: Script, tmp_path: Path, identity: Identity
) -> None:
    identity.save_pem(tmp_path / "client.pem", password=None)
    output = script(
        """
daemon = started("--unlock", password=b"pw")
one = Identity.from_pem(Path("client.pem").read_bytes())
source = KeyringSource("bank")
source.save(one)
secretstorage.Collection(secretstorage.dbus_init()).lock()
for act in (source.load, source.delete, KeyringSource.list, lambda: source.save(one)):
    print(code_of(act))
ended(daemon)

daemon = started()  # nobody has logged in
print(code_of(source.load))
ended(daemon)
"""
    )
    assert output.splitlines() == ["keyring_locked"] * 5


def test_a_service_without_a_collection_is_told(script: Script) -> None:
    output = script(
        """
daemon = started()
source = KeyringSource("bank")
for act in (source.load, source.delete, KeyringSource.list):
    print(code_of(act))
ended(daemon)
"""
    )
    assert output.splitlines() == ["keyring_missing"] * 3


def test_a_session_without_a_bus_is_told(script: Script) -> None:
    output = script(
        """
import os
os.environ["DBUS_SESSION_BUS_ADDRESS"] = "unix:path=/nonexistent"
del os.environ["PYTHON_KEYRING_BACKEND"]
print(code_of(KeyringSource("bank").load))
"""
    )
    assert output.splitlines() == ["keyring_missing"]
