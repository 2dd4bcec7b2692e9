"""Where identities come from; each source is loaded when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mtls_client._os.lazy import lazily

if TYPE_CHECKING:
    from mtls_client.sources.base import Savable, Source, Watchable
    from mtls_client.sources.directory import DirectorySource
    from mtls_client.sources.environment import EnvironmentSource
    from mtls_client.sources.files import FileSource
    from mtls_client.sources.keyring import KeyringSource
    from mtls_client.sources.uri import source_from

_HOME = {
    "DirectorySource": "directory",
    "EnvironmentSource": "environment",
    "FileSource": "files",
    "KeyringSource": "keyring",
    "Savable": "base",
    "Source": "base",
    "Watchable": "base",
    "source_from": "uri",
}

__all__ = [
    "DirectorySource",
    "EnvironmentSource",
    "FileSource",
    "KeyringSource",
    "Savable",
    "Source",
    "Watchable",
    "source_from",
]

__getattr__ = lazily(__name__, _HOME)
