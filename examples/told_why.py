"""Say whose certificate was refused, and by whom: python examples/told_why.py URL CERT CA."""

from __future__ import annotations

import sys

import httpx

import mtls_client as mtls


def main(url: str, certificate: str, ca: str) -> int:
    try:
        with mtls.Client(mtls.FileSource(certificate), trust=mtls.Trust.from_file(ca)) as client:
            response = client.get(url)
    except mtls.IdentityError as error:
        print("our certificate cannot be used:", error)
    except mtls.IdentityRejectedError as error:
        sure = "certainly" if error.certain else "probably"
        print(f"the server refused our certificate, {sure} because it is {error.reason}:", error)
    except mtls.TrustError as error:
        print("we refused the server:", error)
    except httpx.HTTPError as error:
        print(mtls.explain(error))  # whatever else it is, in one paragraph
    else:
        if response.is_success:
            print("accepted")
            return 0
        print(mtls.explain(response))  # nginx, for one, refuses by a page
    return 1


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
