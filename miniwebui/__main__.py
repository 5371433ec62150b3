"""`python -m miniwebui`: makes its environment on first use, then renders an animation, or opens the page (--open)."""

from __future__ import annotations

import argparse
import subprocess
import sys

from miniwebui import environment


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m miniwebui",
        description="Renders a 16-frame animation with AnimateDiff in a small WebUI of its own and prints the files.",
        epilog="Other arguments go to the WebUI, for example --ckpt FILE --data-dir FOLDER --port N --lowvram.",
    )
    parser.add_argument("--open", action="store_true", help="open the page in the browser instead")
    parser.add_argument("--gradio", choices=sorted(environment.GRADIO_SETS), default="4", help="version of the page")
    parser.add_argument("--setup-only", action="store_true", help="make the environment and stop")
    own, rest = parser.parse_known_args()
    try:
        python = environment.environment_for(own.gradio)
    except environment.EnvironmentFailedError as error:
        print(f"miniwebui: {error}", file=sys.stderr)
        return 1
    if own.setup_only:
        return 0
    host = environment.REPOSITORY / "miniwebui" / "host" / "webui.py"
    command = [str(host), "--api", "--autolaunch", *rest] if own.open else ["-m", "miniwebui.demo", *rest]
    try:
        return subprocess.run([str(python), *command], cwd=environment.REPOSITORY, check=False).returncode
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
