"""A source from one line of text, as options and configuration files have it.

Rule of this file: a message shows schemes and the names of options, and nothing else of the
text, in which somebody may have put a password.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import unquote

from mtls_client.errors import ConfigurationError, MTLSError
from mtls_client.sources._paths import path_of
from mtls_client.sources.directory import DirectorySource
from mtls_client.sources.environment import EnvironmentSource
from mtls_client.sources.files import FileSource

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from mtls_client._formats.passwords import Password
    from mtls_client.sources.base import Source

__all__ = ["source_from"]

_GROUP = "mtls_client.sources"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")  # one letter is a drive of Windows
_BUILT_IN = ("dir", "env", "file", "keyring", "pkcs12")
_QUERY = ("key", "chain", "select")


def source_from(
    uri: str | os.PathLike[str], *, password: Password = None, select: str | None = None
) -> Source:
    """Return the source that a path or URI means; nothing is loaded yet.

    | URI | Source |
    |---|---|
    | a path of a file, or of a folder | `FileSource`, `DirectorySource` |
    | `file:CERT?key=KEY&chain=CHAIN&select=WHICH` | `FileSource` |
    | `pkcs12:PATH` | `FileSource` |
    | `dir:PATH` | `DirectorySource` |
    | `env:`, `env:PREFIX` | `EnvironmentSource` |
    | `keyring:NAME`, `keyring:SERVICE/NAME` | `KeyringSource` |

    Paths in URIs are percent-encoded. A package adds a scheme with an entry point of the group
    `mtls_client.sources`: its name is the scheme, its value a function that takes what follows
    the colon and returns a source.

    Args:
        uri: the path or URI.
        password: opens what is encrypted, see `FileSource`. It is never part of a URI.
        select: which identity, if there are several, see `FileSource`.

    Raises:
        ConfigurationError: the URI is malformed, its scheme is unknown, or it has no use for a
            password or selection that was given.
        MissingExtraError: the scheme needs a package that is not installed.

    Example:
        >>> source_from("file:client.pem?key=client.key")
        FileSource('client.pem', 'client.key')
    """
    found = _SCHEME.match(uri) if isinstance(uri, str) else None
    if found is None:
        if not os.fspath(uri):
            raise ConfigurationError(
                "no path, but an empty text", hint="write a path or URI", code="source_path"
            )
        kind = DirectorySource if os.path.isdir(uri) else FileSource
        return kind(uri, password=password, select=select)
    scheme, rest = found[1].lower(), uri[found.end() :]  # type: ignore[index]  # it is a str
    match scheme:
        case "file":
            return _file(rest, password, select)
        case "pkcs12":
            return FileSource(path_of(rest), password=password, select=select)
        case "dir":
            return DirectorySource(path_of(rest), password=password, select=select)
        case "env":
            _refuse(scheme, "password", password, "it is in the variable PREFIX + KEY_PASSWORD")
            prefix = (unquote(rest),) if rest else ()
            return EnvironmentSource(*prefix, select=select)
        case "keyring":
            _refuse(scheme, "password", password, "the keyring itself protects the key")
            _refuse(scheme, "select", select, "name the identity in the URI: keyring:NAME")
            return _keyring(rest)
    entry = _third_party(scheme)
    _refuse(scheme, "password", password, "see that package for how it is given one")
    _refuse(scheme, "select", select, "see that package for how an identity is selected")
    return _called(entry, scheme, rest)


def _file(rest: str, password: Password, select: str | None) -> FileSource:
    location, _, query = rest.partition("?")
    given: dict[str, list[str]] = {name: [] for name in _QUERY}
    for item in filter(None, query.split("&")):
        name, _, value = item.partition("=")
        if name not in given:
            raise ConfigurationError(
                "a password in a URI, which ends up in logs and process lists"
                if name.startswith("pass")
                else f"file: has no option {name!r}; it has {', '.join(_QUERY)}",
                hint="pass password= beside the URI"
                if name.startswith("pass")
                else "write file:CERT?key=KEY&chain=CHAIN; a ? in a path is written %3F",
                code="source_option",
            )
        given[name].append(value)
    selections = [unquote(one) for one in given["select"]] + [select] * (select is not None)
    if len(given["key"]) > 1 or len(selections) > 1:
        raise ConfigurationError(
            "key or select is given twice", hint="give each of them once", code="source_option"
        )
    return FileSource(
        path_of(location),
        path_of(given["key"][0]) if given["key"] else None,
        chain=[path_of(one) for one in given["chain"]],
        password=password,
        select=selections[0] if selections else None,
    )


def _keyring(rest: str) -> Source:
    from mtls_client.sources.keyring import KeyringSource

    before, slash, after = rest.partition("/")
    service, name = (unquote(before), unquote(after)) if slash else (None, unquote(before))
    if not name or service == "":
        raise ConfigurationError(
            "keyring: without a name",
            hint="write keyring:NAME, or keyring:SERVICE/NAME",
            code="source_path",
        )
    return KeyringSource(name) if service is None else KeyringSource(name, service=service)


def _third_party(scheme: str) -> EntryPoint:
    from importlib import metadata  # takes longer than all the rest

    installed = metadata.entry_points(group=_GROUP)
    offered = {one.value: one for one in installed if one.name.lower() == scheme}
    if not offered:
        known = sorted({*_BUILT_IN, *(one.name.lower() for one in installed)})
        raise ConfigurationError(
            f"{scheme}: is unknown; there are {', '.join(f'{one}:' for one in known)}",
            hint="install the package that offers it; a path with a colon is written ./PATH",
            code="source_scheme",
        )
    if len(offered) > 1:
        raise ConfigurationError(
            f"{scheme}: is offered twice: {', '.join(sorted(offered))}",
            hint="uninstall one of the packages",
            code="source_plugin",
        )
    (entry,) = offered.values()
    return entry


def _called(entry: EntryPoint, scheme: str, rest: str) -> Source:
    try:
        load: Callable[[str], Source] = entry.load()
        source = load(rest)
    except MTLSError:
        raise
    except Exception as error:
        raise _broken(scheme, entry, f"failed with {type(error).__name__}") from error
    if not callable(getattr(source, "load", None)):
        raise _broken(scheme, entry, f"returned no source but {type(source).__name__}")
    return source


def _broken(scheme: str, entry: EntryPoint, what: str) -> ConfigurationError:
    package = entry.dist.name if entry.dist else "a package"
    return ConfigurationError(
        f"{scheme}: is read by {entry.value} of {package}, which {what}",
        hint=f"tell the authors of {package}, or check what it wants after {scheme}:",
        code="source_plugin",
    )


def _refuse(scheme: str, name: str, value: object, hint: str) -> None:
    # a function is asked only if something is encrypted, so it can stand beside any source
    if value is not None and not callable(value):
        raise ConfigurationError(
            f"{scheme}: has no use for {name}=", hint=hint, code="source_argument"
        )
