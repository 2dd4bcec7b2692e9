"""Kill a process at every step of a renewal, and look what is left.

Run as a module, for one layout: a child renews, and is killed (SIGKILL) before the nth line of
this library's code; the parent loads the identity, takes the lock and counts. One line of JSON on
standard output tells the outcome. A process of its own, since what is forked must have no threads.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import warnings
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import mtls_client as mtls
from mtls_client._os.locks import locked
from mtls_client.testing import CA
from tests.renewal.layouts import LAYOUTS

WATCHED = ("/mtls_client/_kept.py", "/mtls_client/_renewal.py", "/mtls_client/_holder.py",
           "/mtls_client/_os/", "/mtls_client/sources/")  # fmt: skip


class Steps:
    """Counts the lines that are run, and ends the process at one of them."""

    def __init__(self, last: int | None = None) -> None:
        self.count, self.last = 0, last

    def __call__(self, frame: FrameType, kind: str, _argument: object) -> Any:
        if kind == "line":
            self.count += 1
            if self.count == self.last:
                os.kill(os.getpid(), signal.SIGKILL)
            return self
        return self if any(one in frame.f_code.co_filename for one in WATCHED) else None


def renew(source: Any, new: mtls.Identity, steps: Steps) -> None:
    credential = mtls.Credential(source, renewer=lambda _: new)
    sys.settrace(steps)
    try:
        credential.renew()
    finally:
        sys.settrace(None)


def outcome(source: Any, names: dict[str, str]) -> str:
    """Return which identity is there, and raise if it is neither or the lock is held."""
    with locked(source.lock, 0):
        return names[source.load().fingerprint]


def main(layout: str, stride: int, folder: Path) -> None:
    ca = CA().intermediate()
    old, new = ca.issue("client"), ca.issue("client", key="rsa")
    names = {old.fingerprint: "old", new.fingerprint: "new"}
    pristine = folder / "pristine"
    pristine.mkdir()
    LAYOUTS[layout](pristine, old)

    def fresh(name: str) -> Any:
        shutil.rmtree(folder / name, ignore_errors=True)
        shutil.copytree(pristine, folder / name)
        return LAYOUTS[layout](folder / name, old)

    everything = Steps()
    renew(fresh("whole"), new, everything)
    left: Counter[str] = Counter()
    order = []
    for last in range(1, everything.count + 1, stride):
        source = fresh("work")
        child = os.fork()
        if child == 0:
            renew(source, new, Steps(last))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), f"step {last} of {everything.count} was not reached"
        found = outcome(source, names)
        left[found] += 1
        order.append(found)
        again = mtls.Credential(source, renewer=lambda _: new)
        if found == "old":
            again.renew()
        assert outcome(source, names) == "new", "the next attempt ends it"
    told = {"steps": everything.count, **left, "once": order == sorted(order, reverse=True)}
    print(json.dumps(told))


if __name__ == "__main__":
    warnings.simplefilter("error")
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
