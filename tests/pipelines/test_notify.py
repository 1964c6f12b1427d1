"""A message to a real server; one that cannot be delivered is said and fails nothing."""

import base64
import contextlib
import json
import math
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from moso.errors import ConfigError
from pipelines.notify import check_address, notify

RECORD = {"text": "moso-d: promoted after 9 new episodes", "outcome": "promoted", "reasons": ["better"]}


@pytest.fixture
def server():
    """Its address, the requests it got, and the status that it answers with."""
    got, status = [], [200]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            about = (self.path, self.headers["Content-Type"])
            got.append((*about, json.loads(body), self.headers["Authorization"]))
            self.send_response(status[0])
            self.end_headers()

        def log_message(self, *arguments):
            pass

    running = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}/hook/token-of-the-test", got, status
    running.shutdown()


def test_the_record_arrives_as_json_at_the_address_of_the_environment(server, monkeypatch):
    address, got, _ = server
    monkeypatch.setenv("MOSO_WEBHOOK", address)
    assert notify(RECORD)
    assert got == [("/hook/token-of-the-test", "application/json", RECORD, None)]


def test_without_an_address_it_is_a_line_of_the_log(monkeypatch, capsys):
    monkeypatch.delenv("MOSO_WEBHOOK", raising=False)
    assert notify(RECORD)
    assert capsys.readouterr().out == "retraining: moso-d: promoted after 9 new episodes\n"


def test_a_refusal_and_an_absent_server_are_said_without_the_address(server, capsys):
    address, _, status = server
    status[0] = 403
    assert not notify(RECORD, address)
    assert "status 403" in (said := capsys.readouterr().err)
    assert "token-of-the-test" not in said
    assert not notify(RECORD, "http://127.0.0.1:9/token-of-the-test")
    said = capsys.readouterr().err
    assert "could not be delivered" in said
    assert "token-of-the-test" not in said


def test_an_address_that_is_none_is_refused_beforehand_without_being_shown():
    with pytest.raises(ConfigError, match="must be an http") as refused:
        check_address("ftp://secret-of-the-test")
    assert "secret-of-the-test" not in str(refused.value)
    check_address(None)
    check_address("https://example.org/hook")


@contextlib.contextmanager
def _babbling():
    """Address of a server whose answer is no HTTP (BadStatusLine)."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"go away\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/token-of-the-test"


def test_an_answer_that_is_no_http_and_an_address_that_is_none_are_said_without_the_address(capsys):
    with _babbling() as address:
        assert not notify(RECORD, address)
    assert "BadStatusLine" in (said := capsys.readouterr().err)
    assert "token-of-the-test" not in said
    for wrong in ("http://host:secret/x", "http://host/a secret", "http://[::1/secret", "http://h\u00e4/secret"):
        assert not notify(RECORD, wrong)
        assert "could not be delivered" in (said := capsys.readouterr().err)
        assert "secret" not in said


@pytest.mark.parametrize(
    "wrong",
    [
        "https://?a", "https://host:port/x", "https://host:99999/x", "https://host/a b", "https://host/x\n", "https:///x",
        "https://user:secret@/x", "https://h\u00e4/x", " https://host/x", "https://host\x7f/x",
    ],
)  # fmt: skip
def test_the_whole_address_is_looked_at_and_not_its_beginning(wrong):
    with pytest.raises(ConfigError) as refused:
        check_address(wrong)
    assert wrong.strip() not in str(refused.value)


@pytest.mark.parametrize(
    "right", ["http://host", "http://host:8080/x?y=z#w", "https://user:pass:word@host:1/x", "http://[::1]:80/x"]
)
def test_a_port_a_query_a_user_and_an_ipv6_host_are_taken(right):
    check_address(right)


def test_a_figure_that_is_no_number_arrives_as_null(server):
    address, got, _ = server
    record = RECORD | {"compared": {"new": {"candidate": math.nan, "champion": 15.0}}, "high": [math.inf]}
    assert notify(record, address)
    assert got[-1][2]["compared"] == {"new": {"candidate": None, "champion": 15.0}}
    assert got[-1][2]["high"] == [None]


def test_a_user_and_a_password_in_the_address_arrive_as_a_header(server):
    address, got, _ = server
    assert notify(RECORD, address.replace("http://", "http://robot:p%40ss@"))
    assert got[-1][:2] == ("/hook/token-of-the-test", "application/json")
    assert got[-1][3] == f"Basic {base64.b64encode(b'robot:p@ss').decode()}"
