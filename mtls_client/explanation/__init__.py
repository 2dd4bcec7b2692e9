"""Whose certificate it was, why, and what to do: for any failure of any library.

Give `explain` whatever there is: an exception of requests, httpx, aiohttp, urllib3, http.client,
asyncio or `ssl`, with or without mtls-client below, or a response that is a refusal in disguise.

Rules of this package:

* it never raises, and never reads a stream that nobody has read;
* it quotes nothing but words it knows: no text of a stranger's exception, no URL, no header but
  the shape of `Server`, no content of an answer;
* what is not certain says so.
"""

from __future__ import annotations

from mtls_client.explanation.answers import answered
from mtls_client.explanation.failures import failed
from mtls_client.explanation.value import Explanation, Whose

__all__ = ["Explanation", "Whose", "explain"]


def explain(exception_or_response: object) -> Explanation:
    """Say whose certificate was refused, why, and what to do.

    Args:
        exception_or_response: what was raised, or a response of any HTTP library. The body of a
            response counts if it has been read.

    Returns:
        An `Explanation`; as text, one paragraph.

    Example:
        >>> try:  # doctest: +SKIP
        ...     response = session.get("https://api.example.com/orders")
        ... except Exception as error:
        ...     print(mtls_client.explain(error))
    """
    given = exception_or_response
    try:
        explanation = failed(given) if isinstance(given, BaseException) else answered(given)
    except Exception:  # it is called where something has failed already
        explanation = None
    return explanation or Explanation(
        whose=Whose.UNKNOWN,
        why="nothing is known that fits",
        evidence=type(given).__name__,
        hint="give the exception that the call raised, or the response that it returned",
        certain=False,
        code="unexplained",
    )
