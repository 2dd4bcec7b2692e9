"""docs/identities.md names every code that loading an identity can raise, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import mtls_client
from mtls_client import errors

PACKAGE = Path(mtls_client.__file__).parent
ABSTRACT = {"identity", "identity_format", "password"}  # every raise has a code of its own


def test_every_code_is_documented() -> None:
    sources = [PACKAGE / "identity.py", PACKAGE / "_tls" / "keys.py"]
    sources += [
        path for part in ("_formats", "_os", "sources") for path in (PACKAGE / part).glob("*.py")
    ]
    raised = {code for path in sources for code in re.findall(r'code="(\w+)"', path.read_text())}
    raised |= {
        kind.code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.IdentityError)
    }
    text = (PACKAGE.parent / "docs" / "identities.md").read_text()
    assert set(re.findall(r"^\| `([a-z0-9_]+)` \|", text, re.MULTILINE)) == raised - ABSTRACT
