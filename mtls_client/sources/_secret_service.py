"""Whether the Secret Service (gnome-keyring, KWallet, KeePassXC) can be asked without a prompt."""

from __future__ import annotations

import contextlib

from mtls_client.errors import KeyringError

__all__ = ["require_unlocked"]


def require_unlocked(path: str | None) -> None:
    """Look at a collection without touching it: to read a locked one opens a prompt.

    Args:
        path: its D-Bus path; the default collection if None.

    Raises:
        KeyringError: it does not exist, or it is locked.
    """
    import secretstorage
    from secretstorage.exceptions import ItemNotFoundException

    with contextlib.closing(secretstorage.dbus_init()) as connection:
        try:
            collection = (
                secretstorage.Collection(connection, path)
                if path
                else secretstorage.Collection(connection)
            )
            is_locked = collection.is_locked()
        except ItemNotFoundException:
            is_locked = None
    if is_locked is None:
        raise KeyringError(
            "the keyring service has no default collection",
            hint="log in to a desktop session once, or make a keyring with seahorse and set it "
            "as the default; without a desktop, use a file",
            code="keyring_missing",
        )
    if is_locked:
        raise KeyringError(
            "the keyring is locked",
            hint="log in to the desktop session, or unlock it with seahorse; without a desktop: "
            "gnome-keyring-daemon --unlock < PASSWORD_FILE",
            code="keyring_locked",
        )
