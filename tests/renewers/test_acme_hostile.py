"""An ACME server that says anything at any moment gets an error of ours, and nothing else."""

from __future__ import annotations

import base64
import datetime
import json
from collections.abc import Callable, Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from mtls_client import Identity, RenewalError, RenewalRefusedError, Trust
from mtls_client.renewers import ACME, Challenge, RenewalWindow
from mtls_client.testing import CA, Answer, Call, Server

NONCE = {"Replay-Nonce": "bm9uY2U"}
JSON = {"Content-Type": "application/json", **NONCE}
Script = dict[str, "Answer | Callable[[Call], Answer]"]


def answer(body: object, status: int = 200, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status=status, headers={**JSON, **named}, body=json.dumps(body).encode())


def problem(kind: str, status: int = 400, retry_after: str = "", **members: object) -> Answer:
    body = {"type": f"urn:ietf:params:acme:error:{kind}", **members}
    headers = {"Retry_After": retry_after} if retry_after else {}
    return answer(body, status, **headers)


class Recording:
    """A solver that shows nothing to anybody."""

    kind = "http-01"

    def __init__(self) -> None:
        self.present_now: list[Challenge] = []
        self.seen: list[Challenge] = []

    def present(self, challenge: Challenge) -> None:
        self.seen.append(challenge)
        self.present_now.append(challenge)

    def remove(self, challenge: Challenge) -> None:
        self.present_now.remove(challenge)


class Scripted:
    """An ACME server that issues whatever the request, but for what a test makes different."""

    def __init__(self, identity: Identity, ca: CA) -> None:
        self.script: Script = {}
        self.solver = Recording()
        self._ca, self._proved = ca, False
        self.server = Server(identity, client_certificate="none", handler=self._handle)

    @property
    def url(self) -> str:
        return f"{self.server.url}/dir"

    def _handle(self, call: Call) -> Answer:
        chosen = self.script.get(call.path) or self._usual(call)
        return chosen(call) if callable(chosen) else chosen

    def _usual(self, call: Call) -> Answer:
        url = self.server.url
        match call.path:
            case "/dir":
                names = ("newNonce", "newAccount", "newOrder", "renewalInfo")
                return Answer(body=json.dumps({name: f"{url}/{name}" for name in names}).encode())
            case "/newNonce":
                return Answer(headers=NONCE)
            case "/newAccount":
                return answer({"status": "valid"}, Location=f"{url}/account")
            case "/newOrder":
                self._proved = False
                return answer(self.order("pending"), 201, Location=f"{url}/order")
            case "/authorization":
                return answer(self.authorization("valid" if self._proved else "pending"))
            case "/challenge":
                self._proved = True
                return answer({"status": "processing"})
            case "/order":
                return answer(self.order("ready"))
            case "/finalize":
                return answer(self.order("valid"))
            case "/certificate":
                return Answer(headers=NONCE, body=self._ca.pem)
        return Answer(status=404)

    def order(self, status: str, **members: object) -> dict[str, object]:
        url = self.server.url
        return {
            "status": status,
            "authorizations": [f"{url}/authorization"],
            "finalize": f"{url}/finalize",
            "certificate": f"{url}/certificate",
            **members,
        }

    def authorization(self, status: str, token: object = "dG9rZW4", **members: object) -> dict:
        challenge = {
            "type": "http-01",
            "url": f"{self.server.url}/challenge",
            "token": token,
            **members,
        }
        identifier = {"type": "dns", "value": "orders.test"}
        return {"status": status, "identifier": identifier, "challenges": [challenge]}


@pytest.fixture
def scripted(server_identity: Identity, ca: CA) -> Iterator[Scripted]:
    made = Scripted(server_identity, ca)
    with made.server:
        yield made


@pytest.fixture(scope="session")
def orders(ca: CA) -> Identity:
    return ca.issue("orders", dns=["orders.test"])


@pytest.fixture(scope="session")
def account_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def renewer(
    scripted: Scripted, account_key: ec.EllipticCurvePrivateKey, trust: Trust
) -> Callable[..., ACME]:
    def make(**options: object) -> ACME:
        usual = {"account_key": account_key, "solver": scripted.solver, "trust": trust}
        return ACME(scripted.url, **{**usual, "timeout": 10.0, **options})  # type: ignore[arg-type]

    return make


def failed(renewer: ACME, orders: Identity) -> RenewalError:
    with pytest.raises(RenewalError) as caught:
        renewer.renew(orders)
    return caught.value


def test_the_script_issues_unless_told_otherwise(
    scripted: Scripted, renewer: Callable[..., ACME], orders: Identity, ca: CA
) -> None:
    """The control of all that follows."""
    mine = ca.issue("orders", dns=["orders.test"], key=orders.private_key)  # type: ignore[arg-type]
    scripted.script["/certificate"] = Answer(headers=NONCE, body=mine.certificate_pem())
    assert renewer(reuse_key=True).renew(orders).fingerprint == mine.fingerprint
    assert [one.domain for one in scripted.solver.seen] == ["orders.test"]


NAMED = {"status": "pending", "identifier": {"type": "dns", "value": "orders.test"}}
PERMANENT = [
    ("/newAccount", problem("userActionRequired", 403, instance="x:y"), "user_action_required"),
    ("/newAccount", problem("unauthorized", 401, detail="deactivated"), "unauthorized"),
    ("/newAccount", problem("badSignatureAlgorithm"), "bad_signature_algorithm"),
    ("/newOrder", problem("rejectedIdentifier", detail="policy"), "rejected_identifier"),
    ("/newOrder", problem("malformed", detail="no"), "malformed"),
    ("/newOrder", problem("caa", 403), "caa"),
    ("/finalize", problem("badCSR", detail="weak key"), "bad_csr"),
]  # fmt: skip
PASSING = [
    ("/dir", Answer(status=503), "issuer_busy"),
    ("/newNonce", Answer(status=502), "issuer_busy"),
    ("/newOrder", problem("rateLimited", 429, detail="too many"), "acme_rate_limited"),
    ("/newOrder", problem("serverInternal", 500), "acme_server_internal"),
    ("/newOrder", problem("dns", 400), "acme_dns"),
    ("/newOrder", problem("badNonce", 400), "acme_bad_nonce"),
    ("/finalize", problem("orderNotReady", 403), "acme_order_not_ready"),
]
SENSELESS = [
    ("/dir", answer([]), "acme_answer"),
    ("/dir", answer({}), "acme_answer"),
    ("/dir", Answer(body=b"<html>"), "acme_answer"),
    ("/dir", answer({"newNonce": 5, "newAccount": {}}), "acme_answer"),
    ("/newNonce", Answer(), "acme_answer"),
    ("/newNonce", Answer(headers={"Replay-Nonce": "not base64!"}), "acme_answer"),
    ("/newAccount", answer({}), "acme_answer"),
    ("/newOrder", answer({}), "acme_answer"),
    ("/newOrder", answer({}, Location="https://localhost/order"), "acme_answer"),
    ("/newOrder", answer({"authorizations": 5}, Location="https://localhost/"), "acme_answer"),
    ("/authorization", answer(None), "acme_answer"),
    ("/authorization", answer({"status": "pending"}), "acme_answer"),
    ("/authorization", answer({**NAMED, "challenges": [1, None]}), "acme_challenge_kind"),
    ("/authorization", answer({**NAMED, "challenges": 5}), "acme_challenge_kind"),
    ("/authorization", answer({**NAMED, "challenges": [{"type": "http-01"}]}), "acme_answer"),
    ("/order", answer({"status": "ready", "finalize": None}), "acme_answer"),
    ("/order", answer({"status": "valid"}), "acme_answer"),
    ("/order", answer({"status": "invalid", "error": "because"}), "acme_unknown"),
    ("/certificate", Answer(headers=NONCE, body=b"no certificate"), "renewal_answer"),
]  # fmt: skip


def place(case: object) -> str:
    return case.strip("/") if isinstance(case, str) else ""


@pytest.mark.parametrize(("path", "said", "code"), PERMANENT, ids=place)
def test_a_refusal_is_final(
    path: str,
    said: Answer,
    code: str,
    scripted: Scripted,
    renewer: Callable[..., ACME],
    orders: Identity,
) -> None:
    """It has the code of the problem, and what the server says about it."""
    scripted.script[path] = said
    error = failed(renewer(), orders)
    assert isinstance(error, RenewalRefusedError)
    assert (error.code, error.retryable) == (f"acme_{code}", False)
    document = json.loads(said.body)
    assert document.get("detail", "") in str(error)
    assert document.get("instance", "") in str(error.hint)


@pytest.mark.parametrize(("path", "said", "code"), PASSING, ids=place)
def test_what_passes_is_retryable(
    path: str,
    said: Answer,
    code: str,
    scripted: Scripted,
    renewer: Callable[..., ACME],
    orders: Identity,
) -> None:
    scripted.script[path] = said
    error = failed(renewer(), orders)
    assert (error.code, error.retryable) == (code, True)


@pytest.mark.parametrize(("path", "said", "code"), SENSELESS, ids=place)
def test_nonsense_is_an_error_of_ours(
    path: str,
    said: Answer,
    code: str,
    scripted: Scripted,
    renewer: Callable[..., ACME],
    orders: Identity,
) -> None:
    scripted.script[path] = said
    assert failed(renewer(), orders).code == code
    assert scripted.solver.present_now == []


def test_a_limit_says_when_to_come_back(
    scripted: Scripted, renewer: Callable[..., ACME], orders: Identity
) -> None:
    scripted.script["/newOrder"] = problem("rateLimited", 429, retry_after="120")
    assert failed(renewer(), orders).retry_after == 120.0


def test_subproblems_name_their_domains(
    scripted: Scripted, renewer: Callable[..., ACME], orders: Identity
) -> None:
    """RFC 8555 §6.7.1."""
    further = {
        "type": "urn:ietf:params:acme:error:caa",
        "detail": "forbidden by CAA",
        "identifier": {"type": "dns", "value": "shop.test"},
    }
    scripted.script["/newOrder"] = problem("compound", 403, detail="some", subproblems=[further])
    error = failed(renewer(), orders)
    assert error.code == "acme_caa"
    assert "says no to shop.test: some; forbidden by CAA (caa)" in str(error)


def test_a_nonce_is_refused_five_times_at_most(
    scripted: Scripted, renewer: Callable[..., ACME], orders: Identity
) -> None:
    scripted.script["/newAccount"] = problem("badNonce")
    assert failed(renewer(), orders).code == "acme_bad_nonce"
    assert [call.path for call in scripted.server.calls].count("/newAccount") == 5


@pytest.mark.parametrize(
    "token", ["../../../etc/cron.d/x", "..", "a/b/", "", "a b", "Ĳ" * 4, None, ["x"]], ids=repr
)
def test_a_token_is_no_path(
    token: object, scripted: Scripted, renewer: Callable[..., ACME], orders: Identity
) -> None:
    """It becomes a file name in a web server's folder: the solver never sees such a one."""
    scripted.script["/authorization"] = answer(scripted.authorization("pending", token))
    assert failed(renewer(), orders).code == "acme_answer"
    assert scripted.solver.seen == []


@pytest.mark.parametrize("name", ["shop.test", "test", "x.orders.test", "orders.test/..", ""])
def test_nothing_is_shown_for_what_was_not_ordered(
    name: str, scripted: Scripted, renewer: Callable[..., ACME], orders: Identity
) -> None:
    """A server cannot have records written for other names of ours."""
    body = {**scripted.authorization("pending"), "identifier": {"type": "dns", "value": name}}
    scripted.script["/authorization"] = answer(body)
    assert failed(renewer(), orders).code == "acme_answer"
    assert scripted.solver.seen == []


@pytest.mark.parametrize(
    "link", ["http://169.254.169.254/latest", "file:///etc/passwd", "https://u:p@x/", "//", 7]
)
def test_links_are_followed_over_https_only(
    link: object, scripted: Scripted, renewer: Callable[..., ACME], orders: Identity
) -> None:
    scripted.script["/order"] = answer(scripted.order("ready", finalize=link))
    assert failed(renewer(), orders).code == "acme_answer"


def test_a_redirect_is_not_followed(
    scripted: Scripted, renewer: Callable[..., ACME], orders: Identity
) -> None:
    scripted.script["/dir"] = Answer(status=302, headers={"Location": f"{scripted.server.url}/x"})
    assert failed(renewer(), orders).code == "acme_answer"
    assert [call.path for call in scripted.server.calls] == ["/dir"]


def test_the_failure_of_a_challenge_is_told_with_its_domain(
    scripted: Scripted, renewer: Callable[..., ACME], orders: Identity
) -> None:
    why = {"type": "urn:ietf:params:acme:error:connection", "detail": "timeout"}
    bodies = iter([scripted.authorization("pending"), scripted.authorization("invalid", error=why)])
    scripted.script["/authorization"] = lambda _call: answer(next(bodies))
    error = failed(renewer(), orders)
    assert "says no to orders.test: timeout (connection)" in str(error)
    assert (error.code, error.retryable) == ("acme_connection", True)
    assert scripted.solver.seen
    assert scripted.solver.present_now == []


def test_an_order_that_turns_invalid_says_why(
    scripted: Scripted, renewer: Callable[..., ACME], orders: Identity
) -> None:
    why = {"type": "urn:ietf:params:acme:error:badPublicKey", "detail": "Ed25519"}
    scripted.script["/finalize"] = answer(scripted.order("invalid", error=why))
    error = failed(renewer(), orders)
    assert (error.code, error.retryable) == ("acme_bad_public_key", False)


@pytest.mark.parametrize("path", ["/authorization", "/order"])
def test_no_wait_is_without_end(
    path: str, scripted: Scripted, renewer: Callable[..., ACME], orders: Identity
) -> None:
    """A server that never comes to an end ends at the timeout, and the challenge is removed."""
    bodies = {"/authorization": scripted.authorization, "/order": scripted.order}
    scripted.script[path] = answer(bodies[path]("pending"))
    error = failed(renewer(timeout=1.0), orders)
    assert (error.code, error.retryable) == ("acme_timeout", True)
    assert scripted.solver.present_now == []


def test_a_wait_that_cannot_end_in_time_is_not_begun(
    scripted: Scripted, renewer: Callable[..., ACME], orders: Identity
) -> None:
    scripted.script["/order"] = answer(scripted.order("processing"), Retry_After="3600")
    error = failed(renewer(timeout=3000.0), orders)  # pytest would not wait for that
    assert (error.code, error.retry_after) == ("acme_timeout", 3600.0)


def test_no_secret_and_no_control_character_is_passed_on(
    scripted: Scripted, renewer: Callable[..., ACME], orders: Identity
) -> None:
    key = orders.private_key_pem().decode()
    bearer = "Bearer abcdefghijklmnop"
    scripted.script["/newOrder"] = problem(
        "malformed", detail=f"\x1b[31m{key}\n{bearer}", instance=f"\x1b]0;{bearer}"
    )
    text = str(failed(renewer(), orders))
    assert key.splitlines()[1] not in text
    assert "abcdefghijklmnop" not in text
    assert "\x1b" not in text


@pytest.mark.parametrize("kind", ["x" * 100, "a b", "../x", "é", ""], ids=repr)
def test_a_code_is_made_of_letters(
    kind: str, scripted: Scripted, renewer: Callable[..., ACME], orders: Identity
) -> None:
    scripted.script["/newOrder"] = problem(kind)
    assert failed(renewer(), orders).code == "acme_unknown"


WINDOW = {"start": "2026-01-02T04:00:00Z", "end": "2026-01-03T05:00:00+01:00"}


@pytest.mark.parametrize(
    ("header", "pause"),
    [({}, 21600.0), ({"Retry_After": "1"}, 60.0), ({"Retry_After": "7200"}, 7200.0)],
    ids=["default", "soonest", "as-said"],
)
def test_a_window_is_in_utc_and_says_when_to_ask_again(
    header: dict[str, str],
    pause: float,
    scripted: Scripted,
    renewer: Callable[..., ACME],
    orders: Identity,
) -> None:
    """RFC 9773 §4.3: six hours without a header, no sooner than a minute."""
    path = _renewal_info(scripted, renewer(), orders)
    scripted.script[path] = answer({"suggestedWindow": WINDOW}, **header)
    begin = datetime.datetime(2026, 1, 2, 4, tzinfo=datetime.UTC)
    expected = RenewalWindow(begin, begin + datetime.timedelta(days=1), pause)
    assert renewer().window(orders) == expected


@pytest.mark.parametrize(
    "said",
    [
        answer({}),
        answer({"suggestedWindow": None}),
        answer({"suggestedWindow": {"start": "tomorrow", "end": "never"}}),
        answer({"suggestedWindow": {"start": WINDOW["end"], "end": WINDOW["start"]}}),
        answer({"suggestedWindow": {"start": 0, "end": 2**80}}),
        Answer(status=500),
        Answer(body=b"\xff"),
    ],
)
def test_a_window_without_sense_is_none(
    said: Answer, scripted: Scripted, renewer: Callable[..., ACME], orders: Identity
) -> None:
    path = _renewal_info(scripted, renewer(), orders)
    scripted.script[path] = said
    assert renewer().window(orders) is None


def _renewal_info(scripted: Scripted, renewer: ACME, orders: Identity) -> str:
    """Return where the window of an identity is asked for."""
    assert renewer.window(orders) is None
    path = scripted.server.calls[-1].path
    issuer, _, serial = path.removeprefix("/renewalInfo/").partition(".")
    assert base64.urlsafe_b64decode(issuer + "==")
    number = int.from_bytes(base64.urlsafe_b64decode(serial + "=="), "big", signed=True)
    assert number == orders.certificate.serial_number
    return path
