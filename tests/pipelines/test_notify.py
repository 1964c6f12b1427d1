"""A message to a real server; one that cannot be delivered is said and fails nothing."""

import json
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
            got.append((self.path, self.headers["Content-Type"], json.loads(body)))
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
    assert got == [("/hook/token-of-the-test", "application/json", RECORD)]


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
