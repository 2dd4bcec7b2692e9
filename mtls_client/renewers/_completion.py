"""A renewed certificate made a whole identity: its chain, the issuer's roots, what has changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cryptography import x509

from mtls_client._formats import parsing
from mtls_client.errors import IdentityError
from mtls_client.identity import Identity, noted
from mtls_client.renewers._redaction import redacted

__all__ = ["completed"]


def completed(
    issued: Identity,
    current: Identity,
    authorities: Iterable[x509.Certificate],
    notes: Iterable[str] = (),
) -> Identity:
    """Return an identity with all that its issuer publishes, and a note of what is not as before.

    Args:
        issued: what the issuer has answered.
        current: the identity that it replaces.
        authorities: the issuer's CA certificates: they complete the chain, and those that have
            signed themselves are the roots. Without one, the present roots stay.
        notes: further notes.
    """
    leaf, key, known, told = issued.certificate, issued.private_key, tuple(authorities), list(notes)
    try:
        chain = Identity(leaf, key, chain=(*issued.chain, *known)).chain
    except IdentityError as error:
        chain, known = issued.chain, ()
        told.append(f"the issuer's CA certificates are of no use: {error.args[0]}")
    roots = [one for one in known if _is_root(one)]
    # made of its chain alone: other authorities are no fault of the answer, and not worth a note
    exact = Identity(leaf, key, chain=chain, roots=roots or current.roots)
    return noted(exact, (*issued.notes, *told, *_changes(exact, current)))


def _is_root(certificate: x509.Certificate) -> bool:
    try:
        _verify_own_signature(certificate)
    except parsing.UNREADABLE:
        return False
    return True


@parsing.total
def _verify_own_signature(certificate: x509.Certificate) -> None:
    certificate.verify_directly_issued_by(certificate)


def _changes(new: Identity, old: Identity) -> Iterator[str]:
    if new.certificate.subject != old.certificate.subject:
        yield f"the subject was {old.subject} and is {new.subject}"
    if (before := _alternative(old)) != (after := _alternative(new)):
        yield f"the subjectAltName was {before} and is {after}"


def _alternative(identity: Identity) -> str:
    for one in identity.certificate.extensions:
        if isinstance(one.value, x509.SubjectAlternativeName):
            return redacted(", ".join(str(name.value) for name in one.value))
    return "none"
