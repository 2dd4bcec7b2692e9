"""Renewal by a program: step, certbot, a script.

Rules of this file: our key stays in memory unless the program asks for a file with it, and such
files lie in a private folder, in memory where the system has one, that does not outlive the
program.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import get_args

from mtls_client._os import files
from mtls_client.errors import ConfigurationError, IdentityError, RenewalError
from mtls_client.identity import Identity
from mtls_client.renewers._process import output_of
from mtls_client.renewers.csr import KeyKind, Request
from mtls_client.sources.base import Source

__all__ = ["Command"]

_PLACEHOLDER = re.compile(r"\{\{([a-z_]+)\}\}|\{([a-z_]+)\}")
_PLACES = {
    "csr": "request.csr",
    "cert": "current.crt",
    "key": "current.key",
    "out_cert": "new.crt",
    "out_key": "new.key",
}


class Command:
    """Renews by running a program. There is no shell, and it inherits no stdin.

    By default our key stays in memory: the program gets a CSR and gives back a certificate, with
    its chain, in PEM, DER or PKCS#7. In the arguments

    - `{csr}` is a file with the CSR (PEM); without it, the CSR is on stdin;
    - `{out_cert}` is where to write the certificate; without it, it is read from stdout;
    - `{out_key}` is where the program writes a key that it has made; there is no CSR then;
    - `{cert}` and `{key}` are files with the current certificate, with its chain, and its key,
      **not encrypted**, for programs that present them;
    - `{{csr}}` is the text `{csr}`.

    The files are in a folder of mode 0700, on `/dev/shm` where there is one, which is wiped and
    removed afterwards. Other than through `{key}` and `{out_key}` no key is ever in it.

    A program that renews the files of a source in place is run with `then=`. It is given no
    files, and what the source loads afterwards is the new identity.

    Exit codes other than 0 are failures. 64, 77, 78 (sysexits), 126 and 127 (shells) are refusals,
    which will not pass by themselves.

    Args:
        argv: the program and its arguments. Others see them in the list of processes: pass
            secrets in `env`.
        timeout: how many seconds it may run; then it is killed, with all that it has started.
        env: variables beside those of this process. Their values are kept out of errors.
        then: the source to load afterwards.
        reuse_key: keep the private key instead of making one of the same kind.
        key: the kind of the new key, if it is to be another one.

    Raises:
        ConfigurationError: there is no such program, a placeholder is unknown, or the arguments
            contradict each other.

    Example:
        >>> Command(["ssh", "ca@ca.internal", "sign"])  # doctest: +SKIP
        >>> source = FileSource("client.crt", "client.key")  # doctest: +SKIP
        >>> Command(
        ...     ["step", "ca", "renew", "--force", "client.crt", "client.key"], then=source
        ... )  # doctest: +SKIP
    """

    def __init__(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        timeout: float = 60.0,
        env: Mapping[str, str] | None = None,
        then: Source | None = None,
        reuse_key: bool = False,
        key: KeyKind | None = None,
    ) -> None:
        if isinstance(argv, (str, bytes)) or not argv:
            raise _unusable(
                "it is not a list of arguments",
                "write ['program', 'argument', …]; there is no shell to split a line",
            )
        self._argv = tuple(os.fspath(one) for one in argv)
        self._timeout, self._env, self._then = timeout, dict(env or {}), then
        self._reuse_key, self._key = reuse_key, key
        self._used = _placeholders(self._argv)
        makes_key = "out_key" in self._used
        if not (then is None or isinstance(then, Source)):
            raise _unusable(
                f"then= is of type {type(then).__name__}", "pass a source, as FileSource(…)"
            )
        if then is not None and self._used:
            raise _unusable("{…} with then=", "with then=, the program knows its own files")
        if makes_key and "csr" in self._used:
            raise _unusable("{csr} with {out_key}", "either we make the key, or the program does")
        if (then is not None or makes_key) and (reuse_key or key):
            raise _unusable("reuse_key= or key=, and the program makes the key", "leave it out")
        if key is not None and key not in get_args(KeyKind):
            raise _unusable(f"key={key!r}", f"write one of {', '.join(get_args(KeyKind))}")
        if reuse_key and key:
            raise _unusable("reuse_key= with key=", "leave one of them out")
        if shutil.which(self._argv[0], path=self._env.get("PATH")) is None:
            raise _unusable(
                f"no such program: {self._argv[0]}",
                "check its name, PATH and that it may be executed (chmod +x)",
            )

    def renew(self, current: Identity) -> Identity:
        """Run the program.

        Raises:
            RenewalError: it failed, did not end in time, or gave back nothing of use.
            RenewalRefusedError: it cannot be started, or says that it will fail again.
        """
        with _private_folder() as folder:
            if self._then is not None:
                self._run(folder, None)
                return self._loaded(self._then, current)
            if "out_key" in self._used:
                certificate = self._answer(folder, current, None)
                key = self._written(folder, "out_key")
                try:
                    return Identity.from_key_pair(certificate, key)
                except IdentityError as error:
                    raise self._useless(str(error.args[0])) from error
            request = Request.renewing(current, reuse_key=self._reuse_key, key=self._key)
            return request.joined(self._answer(folder, current, request))

    def _answer(self, folder: Path, current: Identity, request: Request | None) -> bytes:
        given = {"cert": current.certificate_pem, "key": current.private_key_pem}
        for name in self._used & given.keys():
            _write(folder / _PLACES[name], given[name]())
        stdin = None
        if request is not None:
            _write(folder / _PLACES["csr"], request.pem)
            stdin = None if "csr" in self._used else folder / _PLACES["csr"]
        output = self._run(folder, stdin)
        return self._written(folder, "out_cert") if "out_cert" in self._used else output

    def _run(self, folder: Path, stdin: Path | None) -> bytes:
        return output_of(
            [_filled(one, folder) for one in self._argv],
            folder,
            stdin=stdin,
            environment=self._env,
            timeout=self._timeout,
        )

    def _written(self, folder: Path, name: str) -> bytes:
        try:
            return files.read(folder / _PLACES[name])
        except IdentityError as error:
            raise self._useless(f"nothing in {{{name}}}") from error

    def _loaded(self, source: Source, current: Identity) -> Identity:
        try:
            new = source.load()
        except IdentityError as error:
            raise self._useless(str(error.args[0])) from error
        if new.fingerprint == current.fingerprint:
            raise self._useless("the source has the same certificate as before")
        return new

    def _useless(self, what: str) -> RenewalError:
        return RenewalError(
            f"{Path(self._argv[0]).name} ended well, and there is no new identity: {what}",
            hint="run it by hand and look what it writes; it may think it is too early (--force)",
            code="command_answer",
        )

    def __repr__(self) -> str:
        return f"Command({Path(self._argv[0]).name!r})"  # arguments may hold what is secret


def _placeholders(argv: Sequence[str]) -> set[str]:
    found = {name for one in argv for _, name in _PLACEHOLDER.findall(one) if name}
    if unknown := sorted(found - _PLACES.keys()):
        raise _unusable(
            f"unknown: {', '.join(f'{{{one}}}' for one in unknown)}",
            f"known: {', '.join(f'{{{one}}}' for one in _PLACES)}; "
            f"{{{{{unknown[0]}}}}} is the text itself",
        )
    return found


def _filled(argument: str, folder: Path) -> str:
    def place(match: re.Match[str]) -> str:
        text, name = match.groups()
        return f"{{{text}}}" if text else str(folder / _PLACES[name])

    return _PLACEHOLDER.sub(place, argument)


@contextlib.contextmanager
def _private_folder() -> Iterator[Path]:
    memory = Path("/dev/shm")  # noqa: S108 (what is made in it is ours alone)
    parent = memory if memory.is_dir() and os.access(memory, os.W_OK | os.X_OK) else None
    try:
        folder = Path(tempfile.mkdtemp(prefix="mtls-client-", dir=parent))  # 0700
    except OSError as error:
        raise RenewalError(
            f"no folder for temporary files: {error.strerror}",
            hint="set TMPDIR to a folder that can be written",
            code="command_folder",
        ) from error
    try:
        yield folder
    finally:
        for name in ("key", "out_key"):
            with contextlib.suppress(OSError):
                _wipe(folder / _PLACES[name])
        shutil.rmtree(folder, ignore_errors=True)


def _wipe(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0))
    with open(descriptor, "wb") as file:
        file.write(bytes(os.fstat(descriptor).st_size))


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)


def _unusable(what: str, hint: str) -> ConfigurationError:
    return ConfigurationError(f"Command: {what}", hint=hint, code="command")
