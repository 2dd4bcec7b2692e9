"""Optional dependencies, imported where they are used, with an error that names the extra."""

from __future__ import annotations

import importlib
from types import ModuleType

from mtls_client.errors import MissingExtraError

__all__ = ["optional"]


def optional(module: str, extra: str) -> ModuleType:
    """Import a module of an optional dependency.

    Args:
        module: its name.
        extra: the extra of this package that brings it along.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{module.partition('.')[0]} is not installed",
            hint=f"install it with: pip install 'mtls-client[{extra}]'",
        ) from error
