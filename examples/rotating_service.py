"""Go on calling while the certificate is replaced: python examples/rotating_service.py URL CERT CA.

Replace CERT within eight seconds: mv new.pem CERT. The new identity takes over between two
requests, and the old one may be revoked as soon as the last request that used it has ended.
"""

from __future__ import annotations

import sys
import threading

import mtls_client as mtls
from mtls_client.events import Event, GenerationDrained, IdentityReloaded, ReloadFailed

drained = threading.Event()


def told(event: Event) -> None:
    match event:
        case IdentityReloaded():
            print(f"generation {event.generation} presents {event.serial}", flush=True)
        case ReloadFailed():
            print(f"kept the last good identity: {event.message}", flush=True)
        case GenerationDrained():
            print(f"generation {event.generation} is drained: revoke {event.serial}", flush=True)
            drained.set()


def main(url: str, certificate: str, ca: str) -> int:
    answers: list[int] = []
    failures: list[Exception] = []
    done = threading.Event()

    def work(session: mtls.Session) -> None:
        while not done.wait(0.05):
            try:
                answers.append(session.get(url, timeout=10).status_code)
            except Exception as error:
                failures.append(error)

    source = mtls.FileSource(certificate)
    with (
        mtls.Credential(source, poll_interval=0.2, observers=[told]) as credential,
        mtls.Session(credential, trust=mtls.Trust.from_file(ca)) as session,
    ):
        print(f"generation 1 presents {credential.identity.serial}", flush=True)
        threads = [threading.Thread(target=work, args=(session,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        drained.wait(8)
        done.wait(0.5)  # some more requests with the new identity
        done.set()
        for thread in threads:
            thread.join()
    print(f"{len(answers)} answers, {len(failures)} failures", *failures)
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
