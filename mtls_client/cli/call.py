"""`mtls URL`: make one call, with curl's options."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mtls_client import __version__
from mtls_client.cli.failures import MALFORMED_URL, PROXY, READ, REWIND, USAGE, Exit
from mtls_client.cli.identity import identity_of, identity_options, trust_of, trust_options
from mtls_client.cli.terminal import note

if TYPE_CHECKING:
    import httpx

__all__ = ["command"]


@click.command(
    epilog="Words: mtls show FILE, mtls inventory FOLDER, mtls doctor URL, mtls pins HOST|FILE, "
    "mtls csr, mtls identity, mtls renew, mtls needs-renewal, mtls audit, mtls demo. Each has its "
    "own --help.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.argument("url")
@click.option("-X", "--request", "method", metavar="METHOD", help="The method, GET if not said.")
@click.option("-H", "--header", "headers", multiple=True, metavar="LINE", help="A header field.")
@click.option("-d", "--data", multiple=True, help="Send this (@FILE, @- for stdin) as a form.")
@click.option("--data-raw", multiple=True, help="Like -d, but @ has no meaning.")
@click.option("--data-binary", multiple=True, help="Like -d, but line breaks are kept.")
@click.option("--json", multiple=True, help="Like -d, as JSON, and accept JSON.")
@click.option("-G", "--get", is_flag=True, help="Put the data of -d into the URL.")
@click.option("-T", "--upload-file", "upload", metavar="FILE", help="PUT a file, - for stdin.")
@click.option("-A", "--user-agent", help="The User-Agent.")
@click.option(
    "-o", "--output", metavar="FILE", help="Write the body to a file, whole or not at all."
)
@click.option("-O", "--remote-name", is_flag=True, help="Like -o, with the name in the URL.")
@click.option("-i", "--include", is_flag=True, help="Print the response's header too.")
@click.option("-I", "--head", is_flag=True, help="Print the header only (HEAD).")
@click.option("-L", "--location", is_flag=True, help="Follow redirects.")
@click.option("--max-redirs", type=int, default=50, help="At most this many (50).")
@click.option("-s", "--silent", is_flag=True, help="No progress, no messages.")
@click.option("-S", "--show-error", is_flag=True, help="With -s, messages all the same.")
@click.option("-v", "--verbose", is_flag=True, help="Show the handshake and the headers.")
@click.option("-f", "--fail", is_flag=True, help="No body and exit code 22 from status 400 on.")
@click.option("--fail-with-body", is_flag=True, help="Like -f, but with the body.")
@click.option("-m", "--max-time", type=float, metavar="SECONDS", help="For the whole call.")
@click.option("--connect-timeout", type=float, metavar="SECONDS", help="To connect (300).")
@click.option("-x", "--proxy", metavar="URL", help="Go through this proxy.")
@click.option("--http2/--http1.1", default=False, help="Offer HTTP/2 (needs mtls-client[http2]).")
@identity_options
@trust_options
@click.option("-k", "--insecure", is_flag=True, hidden=True)
@click.version_option(__version__, "-V", "--version", message="mtls %(version)s")
def command(url: str, **options: Any) -> None:
    """Call an API that demands a client certificate.

    \b
    mtls --cert client.p12 https://api.example.com/orders
    mtls --cert client.pem --key client.key --cacert ca.pem https://api.internal/
    """
    if options["insecure"]:
        raise Exit(
            USAGE,
            "-k would send the request to whoever answers",
            "trust the server's CA: --cacert ca.pem; see what it presents: mtls pins HOST",
        )
    try:
        _call(url, options)
    except Exit as error:
        quiet = options["silent"] and not options["show_error"]
        raise Exit(error.code, None if quiet else error.message, error.hint) from error


def _call(url: str, options: dict[str, Any]) -> None:
    import httpx

    from mtls_client.cli.failures import network
    from mtls_client.cli.transfer import Transfer, within
    from mtls_client.cli.verbose import Verbose
    from mtls_client.sessions.httpx import Client

    target = _target(url)
    identity_names = ("cert", "key", "password", "select", "uri")
    identity = identity_of(**{name: options[name] for name in identity_names})
    trust_names = ("cacert", "pins", "crlfile", "tls12", "tls13", "tls_max", "allow_legacy_ca")
    trust = trust_of(**{name: options[name] for name in trust_names})
    if target.startswith("http://"):
        note("the URL is http: nothing is encrypted and no certificate is presented")
    verbose = Verbose(identity, trust) if options["verbose"] else None
    transfer = Transfer(target, options)
    try:
        with (
            within(options["max_time"]),
            Client(
                identity,
                trust=trust,
                observers=[verbose.event] if verbose else [],
                event_hooks=verbose.hooks if verbose else None,
                follow_redirects=options["location"],
                max_redirects=options["max_redirs"],
                http2=options["http2"],
                proxy=_proxy(options["proxy"]),
                timeout=httpx.Timeout(None, connect=options["connect_timeout"] or 300.0),
            ) as client,
        ):
            request = _request(client, target, options)
            with transfer.receiving(client.send(request, stream=True)) as done:
                done()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise network(error) from error
    except httpx.StreamError as error:
        message = "(65) the redirect wants the body again, and it was read from a stream"
        raise Exit(REWIND, message, "send it with --data-binary @FILE") from error
    except ImportError as error:
        extra = "http2" if options["http2"] else "socks"
        hint = f"pip install 'httpx[{extra}]'"
        raise Exit(USAGE, f"a package for {extra} is missing", hint) from error
    except (UnicodeError, OverflowError) as error:  # a redirect can lead anywhere
        raise Exit(MALFORMED_URL, f"(3) no such host or port: {error}") from error


def _target(url: str) -> str:
    target = url if "://" in url else f"https://{url}"
    import httpx

    try:
        parsed = httpx.URL(target)
    except httpx.InvalidURL as error:
        raise Exit(MALFORMED_URL, f"(3) malformed URL: {error}") from error
    if not parsed.host or parsed.scheme not in ("http", "https") or (parsed.port or 0) > 65535:
        raise Exit(MALFORMED_URL, "(3) not an http or https URL")
    return target


def _proxy(url: str | None) -> httpx.Proxy | None:
    import httpx

    if not url:
        return None
    try:
        proxy = httpx.Proxy(url if "://" in url else f"http://{url}")
        if not proxy.url.host:
            raise ValueError("no host")
        return proxy
    except (ValueError, httpx.InvalidURL) as error:
        # not the URL itself: it may hold a password
        raise Exit(PROXY, "(5) not the URL of a proxy", "write -x http://host:port") from error


def _request(client: httpx.Client, url: str, options: dict[str, Any]) -> httpx.Request:
    content, kind = _content(options)
    given = [_header(line) for line in options["headers"]]
    named = {name for name, _ in given}
    standard = {
        "accept": "application/json" if options["json"] else "*/*",
        "user-agent": options["user_agent"] or f"mtls/{__version__}",
        "content-type": kind,
    }
    headers = [(name, value) for name, value in standard.items() if value and name not in named]
    headers += [(name, value) for name, value in given if value is not None]
    default = "PUT" if options["upload"] else "POST" if content is not None else "GET"
    if options["get"] and isinstance(content, bytes):
        url += ("&" if "?" in url else "?") + content.decode("utf-8", "replace")
        headers = [(name, value) for name, value in headers if name != "content-type"]
        content, default = None, "GET"
    method = options["method"] or ("HEAD" if options["head"] else default)
    request = client.build_request(method, url, headers=headers, content=content)
    # httpx asks for compression by itself; and a field that was given without a value is removed
    unasked = {"accept-encoding"} - named
    for name in unasked | {name for name, value in given if value is None}:
        request.headers.pop(name, None)
    return request


def _header(line: str) -> tuple[str, str | None]:
    """Read `Name: value`; `Name:` removes a field and `Name;` sends it empty, as in curl."""
    name, colon, value = line.partition(":")
    if not colon and line.endswith(";"):
        return line[:-1].strip().lower(), ""
    if not colon:
        # not the line itself: it may be a token
        raise Exit(USAGE, "not a header field: there is no colon", "write -H 'Name: value'")
    return name.strip().lower(), value.strip() or None


def _content(options: dict[str, Any]) -> tuple[bytes | Iterator[bytes] | None, str | None]:
    """Return the request's content and its type."""
    if options["upload"]:
        return _pieces(options["upload"]), None
    if options["json"]:
        return b"".join(_data(options["json"], keep=True)), "application/json"
    parts = [
        *_data(options["data"], keep=False),
        *(text.encode() for text in options["data_raw"]),
        *_data(options["data_binary"], keep=True),
    ]
    return (b"&".join(parts), "application/x-www-form-urlencoded") if parts else (None, None)


def _data(values: Sequence[str], *, keep: bool) -> Iterator[bytes]:
    for value in values:
        if not value.startswith("@"):
            yield value.encode()
            continue
        content = b"".join(_pieces(value[1:]))
        yield content if keep else content.replace(b"\r", b"").replace(b"\n", b"")


def _pieces(path: str) -> Iterator[bytes]:
    """Return a file's bytes piece by piece, standard input's for `-`."""
    try:
        file = sys.stdin.buffer if path == "-" else Path(path).open("rb")  # noqa: SIM115
    except OSError as error:
        raise Exit(READ, f"(26) {path} cannot be read: {error.strerror}".lower()) from error

    def pieces() -> Iterator[bytes]:
        with file:
            while piece := file.read(65536):
                yield piece

    return pieces()
