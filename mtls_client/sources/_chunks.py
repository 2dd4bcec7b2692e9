"""A text in a keyring whose entries may be small, written so that no crash can lose it.

| Entry | Holds |
|---|---|
| `NAME` | the text, or a manifest: the id, number and digest of its pieces |
| `NAME#id#i` | a piece; a set of pieces has a new id and is never changed |
| `NAME#next` | while something is written: what `NAME` will hold, and the sets around |

The journal is written first, then the pieces, then `NAME` in one small write, which is the commit;
what is left over goes last. macOS replaces an entry by deleting it first: whoever finds no `NAME`
looks in the journal.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any, Protocol

from mtls_client.errors import KeyringError

__all__ = ["Entries", "Record"]

_PIECE = 1200
"""Characters a piece: Windows takes 1,280 UTF-16 units."""

_MOST = 20_000
"""Pieces a text."""

_READS = 5


class Entries(Protocol):
    """What a record needs of a keyring.

    Attributes:
        largest: how many UTF-16 units an entry can have, if that is known.
    """

    largest: int | None

    def get(self, entry: str) -> str | None:
        """Return what an entry holds."""
        ...

    def set(self, entry: str, value: str) -> None:
        """Write an entry; KeyringError with the code `keyring` if the keyring refuses it."""
        ...

    def remove(self, entry: str) -> None:
        """Remove an entry, if it is there."""
        ...


@dataclass(frozen=True)
class _Manifest:
    id: str
    chunks: int
    sha256: str


@dataclass(frozen=True)
class _Journal:
    value: str | None = None
    sets: dict[str, int] = field(default_factory=dict)


class Record:
    """A text under a name. Whoever writes or removes it holds a lock.

    Args:
        entries: the keyring.
        name: the name, the beginning of the names of all its entries.
    """

    def __init__(self, entries: Entries, name: str) -> None:
        self._entries = entries
        self._name = name
        self._next = f"{name}#next"

    def read(self) -> str | None:
        """Return the text; None if there is none.

        Raises:
            KeyringError: it is damaged.
        """
        before: object = self
        value = text = None
        for _ in range(_READS):
            value = self._entries.get(self._name)
            found = self._journal().value if value is None else value
            text = self._joined(found)
            # somebody may write at the same time; what is seen twice is really so
            if text is not None or found == before:
                break
            before = found
        if text is None and value is not None:
            raise KeyringError(
                "its entries in the keyring are damaged: pieces are missing or were changed",
                hint="import it again from where it came from",
                code="keyring_damaged",
            )
        return text

    def exists(self) -> bool:
        """Tell whether there is a text, damaged or not."""
        return (
            self._entries.get(self._name) is not None
            or self._joined(self._journal().value) is not None
        )

    def write(self, text: str) -> None:
        """Replace the text, all of it or nothing.

        Raises:
            KeyringError: the keyring refuses it; the old text is still there.
        """
        old = _set_of(self._settled())
        try:
            value = self._announce(text, old)
            self._entries.set(self._name, value)
        except KeyringError as error:
            # a call that timed out may still be carried out, so its pieces must stay
            if error.code != "keyring_timeout":
                with contextlib.suppress(KeyringError):
                    self._settled()
            raise
        with contextlib.suppress(KeyringError):  # the next write tries again
            self._discard(old)
            self._entries.remove(self._next)

    def remove(self) -> bool:
        """Remove the text and its pieces, and tell whether there was one."""
        existed = self.exists()
        value, journal = self._entries.get(self._name), self._journal()
        # the names go last: pieces without a name would be found by nobody
        self._discard({**journal.sets, **_set_of(journal.value), **_set_of(value)})
        self._entries.remove(self._next)
        if value is not None:
            self._entries.remove(self._name)
        return existed

    def _announce(self, text: str, old: dict[str, int]) -> str:
        """Write the journal and the pieces, and return what the name is to hold."""
        whole = _json(value=text, sets=old)
        largest = self._entries.largest
        if largest is None or len(whole.encode("utf-16-le")) // 2 <= largest:
            try:
                self._entries.set(self._next, whole)
                return text
            except KeyringError as error:
                if error.code != "keyring" or len(text) <= _PIECE:
                    raise
        pieces = [text[at : at + _PIECE] for at in range(0, len(text), _PIECE)]
        manifest = _Manifest(secrets.token_hex(8), len(pieces), _digest(text))
        value = _json(id=manifest.id, chunks=manifest.chunks, sha256=manifest.sha256)
        self._entries.set(self._next, _json(value=value, sets={**old, manifest.id: len(pieces)}))
        for number, piece in enumerate(pieces):
            self._entries.set(self._piece(manifest.id, number), piece)
        return value

    def _settled(self) -> str | None:
        """Finish or undo what was interrupted, and return what the name holds."""
        value, journal = self._entries.get(self._name), self._journal()
        if value is None and self._joined(journal.value) is not None:
            value = journal.value or ""
            self._entries.set(self._name, value)
        kept = _set_of(value)
        self._discard({id_: n for id_, n in journal.sets.items() if id_ not in kept})
        self._entries.remove(self._next)
        return value

    def _discard(self, sets: dict[str, int]) -> None:
        for id_, number in sets.items():
            for at in range(number):
                self._entries.remove(self._piece(id_, at))

    def _joined(self, value: str | None) -> str | None:
        """Return the text a value stands for; None if a piece is missing or was changed."""
        if value is None or not value.startswith("{"):
            return value
        manifest = _manifest(value)
        if manifest is None:
            return None
        pieces = []
        for number in range(manifest.chunks):
            piece = self._entries.get(self._piece(manifest.id, number))
            if piece is None:
                return None
            pieces.append(piece)
        text = "".join(pieces)
        return text if secrets.compare_digest(_digest(text), manifest.sha256) else None

    def _journal(self) -> _Journal:
        value = self._entries.get(self._next)
        match _parsed(value) if value else None:
            case {"value": str(text), "sets": dict(sets)} if all(map(_is_count, sets.values())):
                return _Journal(text, sets)
        return _Journal()

    def _piece(self, id_: str, number: int) -> str:
        return f"{self._name}#{id_}#{number}"


def _manifest(value: str) -> _Manifest | None:
    match _parsed(value):
        case {"id": str(id_), "chunks": chunks, "sha256": str(sha256)} if _is_count(chunks):
            return _Manifest(id_, chunks, sha256)
    return None


def _set_of(value: str | None) -> dict[str, int]:
    manifest = _manifest(value) if value and value.startswith("{") else None
    return {manifest.id: manifest.chunks} if manifest else {}


def _is_count(value: object) -> bool:
    return type(value) is int and 0 < value <= _MOST


def _json(**fields: object) -> str:
    return json.dumps({"mtls-client": 1, **fields}, separators=(",", ":"))


def _parsed(value: str) -> Any:
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and found.get("mtls-client") == 1 else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
