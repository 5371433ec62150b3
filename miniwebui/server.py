"""Starts the host as a process of its own and waits until it answers. Only the standard library."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

READY = "Startup time"
WEBUI = Path(__file__).resolve().parent / "host" / "webui.py"
# Proxies are for other machines.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ServerFailedError(Exception):
    """The host ended or did not answer in time; the message holds the end of its output."""


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def request(url: str, body: Any = None, *, timeout: float = 3600) -> Any:
    """JSON answer of a GET, or of a POST if there is a body; an HTTP error names its text."""
    data = None if body is None else json.dumps(body).encode()
    message = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
    try:
        with _OPENER.open(message, timeout=timeout) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        text = error.read().decode("utf8", errors="replace")
        raise RuntimeError(f"{url} answered {error.code}: {text[:2000]}") from error


class Server:
    """A running host; use it as a context manager or call `stop`."""

    def __init__(self, process: subprocess.Popen, url: str, log: Path) -> None:
        self.process = process
        self.url = url
        self.log = log

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def tail(self, lines: int = 40) -> str:
        """The last lines of the host's output."""
        return "\n".join(self.log.read_text(encoding="utf8", errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """End the process, by force if it does not go."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def start(
    arguments: Sequence[str] = (),
    *,
    log: Path,
    python: str | None = None,
    port: int | None = None,
    environment: dict[str, str] | None = None,
    timeout: float = 600,
    progress: IO[str] | None = None,
) -> Server:
    """Start the host with the API and return when it answers.

    `arguments` are added to its command line; `python` is this interpreter by default; the output goes to `log`, and
    its new lines to `progress` while we wait.
    """
    port = port or free_port()
    command = [python or sys.executable, "-u", str(WEBUI), "--api", "--port", str(port), *arguments]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf8") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})}
        )
    server = Server(process, f"http://127.0.0.1:{port}", log)
    shown = 0
    deadline = time.monotonic() + timeout
    while True:
        lines = log.read_text(encoding="utf8", errors="replace").splitlines()
        if progress is not None:
            print(*lines[shown:], sep="\n", end="\n" if lines[shown:] else "", file=progress, flush=True)
            shown = len(lines)
        if process.poll() is not None:
            raise ServerFailedError(f"The host ended with code {process.returncode}. Its last lines:\n{server.tail()}")
        # not by asking for it: a request that comes in before the API is built stops A1111-like hosts
        if any(line.startswith(READY) for line in lines) and _listens(port):
            return server
        if time.monotonic() > deadline:
            server.stop()
            raise ServerFailedError(f"The host did not start in {timeout:.0f} s. Its last lines:\n{server.tail()}")
        time.sleep(0.3)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0
