"""Which identity is meant for which host.

Without a scope an identity is presented to every host that the caller names; with one, to the
hosts of the patterns and to no other. No match presents nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from mtls_client.credential import Credential
from mtls_client.errors import ConfigurationError
from mtls_client.hosts import HostPattern

if TYPE_CHECKING:
    from mtls_client.sources.base import Source

__all__ = ["Credentials", "Scope"]

Credentials: TypeAlias = "Credential | Source | Mapping[str, Credential | Source] | None"


@dataclass(frozen=True, slots=True)
class Scope:
    """Credentials by host pattern, the most specific pattern first.

    Attributes:
        entries: the pairs; a pattern of None stands for every host.
    """

    entries: tuple[tuple[HostPattern | None, Credential], ...]

    @classmethod
    def of(
        cls, credentials: Credentials, hosts: Iterable[str] | None, *, deferred: bool = False
    ) -> Scope:
        """Read what a session or context was given.

        Args:
            credentials: one credential or source, a mapping from host pattern to such, or
                None for no identity.
            hosts: the patterns of the hosts that one credential is meant for, or None for all.
            deferred: load bare sources when their identity is first needed.

        Raises:
            ConfigurationError: a pattern is malformed, or both ways are mixed.
            IdentityError: a source could not be loaded.
        """
        if isinstance(hosts, (str, bytes)):
            raise ConfigurationError(
                f"hosts is one text: {hosts!r}",
                hint="write a list: hosts=['api.example.com']",
                code="hosts_type",
            )
        if isinstance(credentials, Mapping):
            if hosts is not None:
                raise ConfigurationError(
                    "hosts= beside a mapping of credentials",
                    hint="the keys of the mapping are the hosts; leave hosts= out",
                    code="hosts_twice",
                )
            entries = [
                (HostPattern.parse(pattern), Credential.of(credential, deferred=deferred))
                for pattern, credential in credentials.items()
            ]
            entries.sort(key=lambda entry: entry[0].rank, reverse=True)
            return cls(tuple(entries))
        if credentials is None:
            return cls(())
        credential = Credential.of(credentials, deferred=deferred)
        if hosts is None:
            return cls(((None, credential),))
        return cls(tuple((HostPattern.parse(host), credential) for host in hosts))

    @property
    def credentials(self) -> tuple[Credential, ...]:
        """Every credential, once."""
        return tuple(dict.fromkeys(credential for _, credential in self.entries))

    @property
    def patterns(self) -> tuple[str, ...]:
        """The patterns as text; empty if the identity is meant for every host."""
        return tuple(pattern.text for pattern, _ in self.entries if pattern is not None)

    def credential_for(self, host: str | None) -> Credential | None:
        """Return the credential for a `normalised` host, or None."""
        for pattern, credential in self.entries:
            if pattern is None or (host is not None and pattern.matches(host)):
                return credential
        return None
