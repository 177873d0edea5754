"""A web server for one page on this machine alone: it answers on 127.0.0.1, and only to whoever knows its secret."""

import logging
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from autoseg.errors import ViewerError

logger = logging.getLogger(__name__)

ONLY_HERE = "127.0.0.1"
SECRET_BYTES = 32
_PATIENCE_S = 60.0

HEADERS = {
    # `blob:` is how a screenshot is handed to the user, `data:` how NiiVue carries the pictures of its letters.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""No page of another origin may read, embed or learn of anything here, and this page loads nothing from elsewhere."""


@dataclass(frozen=True)
class Answer:
    """What is sent back: its media type, its content in pieces, and how the request went."""

    media_type: str
    content: Sequence[bytes | memoryview]
    status: HTTPStatus = HTTPStatus.OK


Site = Callable[[str], Answer | None]
"""The answer for a name such as "cases" or "case/3/layer/prediction"; None where there is nothing of that name."""


@dataclass(frozen=True)
class Serving:
    """A server that is bound to its port, and the address of its page, which holds the secret."""

    server: ThreadingHTTPServer
    address: str

    def run(self) -> None:
        """Answer until interrupted."""
        with self.server, suppress(KeyboardInterrupt):
            self.server.serve_forever(poll_interval=0.2)


def bind(site: Site, *, port: int = 0) -> Serving:
    """A server for `site` on 127.0.0.1; port 0 takes a free one. Raises ViewerError where the port cannot be had."""
    secret = secrets.token_urlsafe(SECRET_BYTES)
    try:
        server = ThreadingHTTPServer((ONLY_HERE, port), _handler(site, secret))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ViewerError(
            f"port {port} cannot be used ({reason}). Choose another with --port, or leave that out."
        ) from error
    server.daemon_threads = True
    return Serving(server, f"http://{ONLY_HERE}:{server.server_address[1]}/{secret}/")


def refusal(*, target: str, host: str | None, port: int, secret: str) -> tuple[HTTPStatus, str] | None:
    """Why a request is not answered, as a status and a sentence; None for one that is.

    A page elsewhere whose name is made to lead here is known by its Host, and whoever guesses addresses by the secret.
    """
    if host not in (f"{ONLY_HERE}:{port}", f"localhost:{port}"):
        return HTTPStatus.FORBIDDEN, "This server answers to its own address alone."
    path = target.partition("?")[0]
    given = path.split("/")[1] if path.startswith("/") else ""
    if not secrets.compare_digest(given.encode(), secret.encode()):
        return HTTPStatus.FORBIDDEN, "The address lacks its secret part. Take the whole address that autoseg_view printed."
    plain = path.isascii() and not set(path) & set("%\\\0") and "//" not in path
    if not plain or ".." in path.split("/"):
        return HTTPStatus.BAD_REQUEST, "There is no such address here."
    return None


def _handler(site: Site, secret: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):  # the standard library hands over requests to a subclass only
        protocol_version = "HTTP/1.1"
        server_version, sys_version = "autoseg", ""
        timeout = _PATIENCE_S

        def do_GET(self) -> None:
            self._send(self._answer())

        do_HEAD = do_GET  # noqa: N815

        def _answer(self) -> Answer:
            port = int(self.connection.getsockname()[1])
            hosts = self.headers.get_all("Host", [])
            host = hosts[0] if len(hosts) == 1 else None
            refused = refusal(target=self.path, host=host, port=port, secret=secret)
            if refused is not None:
                status, sentence = refused
                return Answer("text/plain; charset=utf-8", [sentence.encode()], status)
            name = self.path.partition("?")[0].split("/", maxsplit=2)[2:]
            found = site(name[0] if name else "")
            return found or Answer("text/plain; charset=utf-8", [b"There is no such address here."], HTTPStatus.NOT_FOUND)

        def _send(self, answer: Answer) -> None:
            self.send_response(answer.status)
            for name, value in HEADERS.items():
                self.send_header(name, value)
            self.send_header("Content-Type", answer.media_type)
            self.send_header("Content-Length", str(sum(len(piece) for piece in answer.content)))
            self.end_headers()
            if self.command == "HEAD":
                return
            with suppress(BrokenPipeError, ConnectionResetError):  # the page has gone on to another case
                for piece in answer.content:
                    self.wfile.write(piece)

        def log_message(self, format: str, *values: object) -> None:  # noqa: A002 (the name in the standard library)
            logger.debug(format, *values)

    return Handler
