"""The page in a real browser: no console error, and no request but the one for the page itself."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--v=0",
    # The browser's own services find nobody, so that a test never leaves the machine.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH"),
    pytest.mark.timeout(180),
]


@pytest.fixture
def visit(tmp_path):
    """Return a function that opens a page and gives its DOM, its console lines and the requests it made."""
    servers = []

    def open_page(page):
        handler = functools.partial(_Quiet, directory=page.parent)
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        origin = f"http://127.0.0.1:{server.server_port}"
        log = tmp_path / "network.json"
        arguments = [f"--user-data-dir={tmp_path / 'profile'}", f"--log-net-log={log}", "--dump-dom"]
        command = [CHROMIUM, *FLAGS, *arguments, f"{origin}/{page.name}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=True)
        console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        # The initiator of a request tells what the page asks for from what the browser asks for by itself.
        events = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
        started = [event["url"] for event in events if event.get("initiator") == origin]
        return done.stdout, console, started

    yield open_page
    for server in servers:
        server.shutdown()
        server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        """Say nothing: the test's output is for failures."""


def test_the_page_opens_without_console_error_or_request(visit, rendered, variant):
    dom, console, started = visit(rendered(variant) / "report.html")
    assert 'id="environment-title"' in dom
    assert console == []
    assert started == []
    assert "<script" not in dom
    assert 'src="x"' not in dom


def test_a_request_would_be_noticed(visit, tmp_path):
    page = tmp_path / "page.html"
    page.write_text('<!doctype html><link rel="icon" href="data:,"><img src="other.png">')
    _, _, started = visit(page)
    assert [url.rpartition("/")[2] for url in started] == ["other.png"]


def test_a_blocked_request_would_be_noticed(visit, tmp_path):
    page = tmp_path / "page.html"
    policy = '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'">'
    page.write_text(f'<!doctype html>{policy}<img src="other.png">')
    _, console, _ = visit(page)
    assert any("other.png" in line for line in console)
