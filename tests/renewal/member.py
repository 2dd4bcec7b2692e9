"""One process of a fleet that shares an identity: calls a server all the time, and renews.

Run as a module: `member FOLDER URL [block]`. It ends when its standard input does, and tells on
standard output which certificates it has presented, and what has failed.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

import mtls_client as mtls
from mtls_client.renewers import Request


def main(folder: Path, url: str, *, block: bool) -> None:
    trust = mtls.Trust.from_file(folder / "ca.pem")
    source = mtls.FileSource(folder / "client.crt", folder / "client.key")

    def renew(current: mtls.Identity) -> mtls.Identity:
        if block:
            print("asked", flush=True)
            time.sleep(600)
        request = Request.renewing(current)
        with mtls.Session(current, trust=trust) as issuer:
            return request.joined(issuer.post(f"{url}/sign", data=request.pem, timeout=30).content)

    presented: list[str] = []
    failures: list[str] = []
    ended = threading.Event()

    def read() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=read, daemon=True).start()
    with (
        mtls.Credential(source, renewer=renew, poll_interval=0.1) as credential,
        mtls.Session(credential, trust=trust) as session,
    ):
        while not ended.wait(0.05):
            try:
                seen = session.get(url, timeout=30).text
            except Exception as error:
                failures.append(repr(error))
                continue
            if presented[-1:] != [seen]:
                presented.append(seen)
                print("presents", seen, flush=True)
    print(json.dumps({"presented": presented, "failures": failures}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], block=sys.argv[3:] == ["block"])
