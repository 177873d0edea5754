import socket

import pytest

from autoseg.errors import ViewerError
from autoseg.viewer.server import Answer, bind, refusal
from tests.viewer.made_up import answering, ask, secret_of


def site(name):
    return Answer("text/plain", [b"the ", b"page"]) if name in ("", "case/0") else None


@pytest.fixture(scope="module")
def serving():
    with answering(bind(site)) as found:
        yield found


def port_of(serving):
    return serving.server.server_address[1]


def test_whoever_has_the_address_gets_the_page(serving):
    assert ask(serving, secret_of(serving))[0::2] == (200, b"the page")
    assert ask(serving, secret_of(serving) + "case/0")[2] == b"the page"
    status, headers, content = ask(serving, secret_of(serving), method="HEAD")
    assert (status, headers["Content-Length"], content) == (200, "8", b"")
    assert ask(serving, secret_of(serving), headers=[("Host", f"localhost:{port_of(serving)}")])[0] == 200


@pytest.mark.parametrize("target", ["/", "/cases", "/wrong/", "/favicon.ico", "//", "/../"])
def test_a_request_without_the_secret_is_refused(serving, target):
    status, _, content = ask(serving, target)
    assert status == 403
    assert b"secret" in content


def test_half_a_secret_is_no_secret(serving):
    secret = secret_of(serving).strip("/")
    assert len(secret) >= 43  # 256 bits
    for other in (secret[:-1], secret + "a", secret.swapcase(), f"%{ord(secret[0]):x}{secret[1:]}", ""):
        assert ask(serving, f"/{other}/")[0] == 403
    another = bind(site)
    another.server.server_close()
    assert secret_of(another) != secret_of(serving)


@pytest.mark.parametrize(
    "path", ["../", "../../etc/passwd", "%2e%2e/x", "a/../b", "..%2f", "..\\x", "%2E%2E%2F", "case/%00", "a//b", ".."]
)
def test_a_path_that_climbs_is_refused(serving, path):
    status, _, content = ask(serving, secret_of(serving) + path)
    assert status == 400
    assert b"root:" not in content


def test_another_host_is_refused_even_with_the_secret(serving):
    port = port_of(serving)
    for host in (
        "evil.example",
        f"evil.example:{port}",
        "127.0.0.1",
        f"127.0.0.1:{port + 1}",
        f"127.0.0.1.evil:{port}",
        "",
    ):
        assert ask(serving, secret_of(serving), headers=[("Host", host)])[0] == 403
    assert ask(serving, secret_of(serving), headers=[])[0] == 403
    twice = [("Host", f"127.0.0.1:{port}"), ("Host", "evil.example")]
    assert ask(serving, secret_of(serving), headers=twice)[0] == 403


def test_an_address_in_place_of_a_path_is_refused(serving):
    assert ask(serving, f"http://127.0.0.1:{port_of(serving)}{secret_of(serving)}")[0] == 403


def test_only_reading_is_possible(serving):
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert ask(serving, secret_of(serving), method=method)[0] == 501


def test_what_is_not_there_is_not_found(serving):
    assert ask(serving, secret_of(serving) + "case/1")[0] == 404
    assert ask(serving, secret_of(serving)[:-1])[2] == b"the page"


def test_the_server_listens_on_this_machine_alone(serving):
    assert serving.server.server_address[0] == "127.0.0.1"
    # A server on all interfaces would answer at every address of the loopback network, too.
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.2", port_of(serving)), timeout=5)


def test_every_answer_forbids_other_origins(serving):
    for target in (secret_of(serving), "/"):
        headers = ask(serving, target)[1]
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "http" not in headers["Content-Security-Policy"]
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Cache-Control"] == "no-store"
        assert "Access-Control-Allow-Origin" not in headers


def test_a_port_in_use_is_named(serving):
    with pytest.raises(ViewerError, match=rf"port {port_of(serving)} cannot be used .* --port"):
        bind(site, port=port_of(serving))


def test_refusals_are_decided_without_a_server():
    given = {"host": "127.0.0.1:80", "port": 80, "secret": "s"}
    assert refusal(target="/s/", **given) is None
    assert refusal(target="/s/a?b=../c", **given) is None
    assert refusal(target="", **given)[0] == 403
    assert refusal(target="/s/ä", **given)[0] == 400
