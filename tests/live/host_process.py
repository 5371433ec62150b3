"""Starts miniwebui, the WebUI of this repository, for the tests that are given no other."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROBE_EXTENSION = Path(__file__).parent / "extension"
SERVER = ROOT / "miniwebui" / "host" / "webui.py"
START_SECONDS = 300


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _answers(url: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as response:
            return response.status == 200
    except OSError:
        return False


@contextmanager
def miniwebui(data: Path, *flags: str):
    """The URL of a miniwebui with this repository and the probe as its extensions, in the data folder ``data``."""
    port = free_port()
    command = [sys.executable, str(SERVER), "--api", "--port", str(port), "--data-dir", str(data)]
    command += ["--extension", str(ROOT), "--extension", str(PROBE_EXTENSION), *flags]
    log_path = data / "miniwebui.log"
    environment = {**os.environ, "no_proxy": "127.0.0.1,localhost", "NO_PROXY": "127.0.0.1,localhost"}
    with log_path.open("w", encoding="utf-8") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env=environment)
        try:
            url = f"http://127.0.0.1:{port}"
            end = time.monotonic() + START_SECONDS
            while not _answers(f"{url}/sdapi/v1/samplers"):
                if process.poll() is not None or time.monotonic() > end:
                    tail = log_path.read_text(encoding="utf-8", errors="replace")[-4000:]
                    raise RuntimeError(f"miniwebui did not start ({' '.join(command)}):\n{tail}")
                time.sleep(0.5)
            yield url
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
