"""Where identities come from."""

from __future__ import annotations

from mtls_client.sources.base import Source
from mtls_client.sources.files import FileSource

__all__ = ["FileSource", "Source"]
