"""Reports of errors on standard error: what a hook or a callback raised is shown and the job goes on."""

from __future__ import annotations

import sys
import textwrap
import traceback

RECORDS_KEPT = 5

exception_records: list[dict] = []


def record_exception() -> None:
    """Remember the exception being handled, the newest `RECORDS_KEPT` of them."""
    _, error, trace = sys.exc_info()
    if error is None:
        return
    lines = [[f"{x.filename}, line {x.lineno}, {x.name}", x.line] for x in traceback.extract_tb(trace)]
    exception_records.append({"exception": str(error), "traceback": lines})
    del exception_records[:-RECORDS_KEPT]


def report(message: str, *, exc_info: bool = False) -> None:
    """Print a message, with the traceback of the exception being handled if asked."""
    record_exception()
    print(textwrap.indent(message, "*** ", lambda line: True), file=sys.stderr)
    if exc_info:
        print(textwrap.indent(traceback.format_exc(), "    ") + "\n---", file=sys.stderr)


def display(error: BaseException, task: str, *, full_traceback: bool = False) -> None:
    """Print an exception with its traceback, named by the task it broke."""
    record_exception()
    print(f"{task or 'error'}: {type(error).__name__}", file=sys.stderr)
    shown = traceback.TracebackException.from_exception(error)
    if full_traceback:
        shown.stack = traceback.StackSummary(traceback.extract_stack()[:-2] + shown.stack)
    print(*shown.format(), sep="", file=sys.stderr)


_displayed: set[str] = set()


def display_once(error: BaseException, task: str) -> None:
    """`display`, but only the first time for a task."""
    if task not in _displayed:
        _displayed.add(task)
        display(error, task)


def print_error_explanation(message: str) -> None:
    """Print a framed explanation meant for the user."""
    record_exception()
    lines = message.strip().splitlines()
    frame = "=" * max(len(x) for x in lines)
    print(frame, *lines, frame, sep="\n", file=sys.stderr)


def run(code, task: str) -> None:
    """Call `code`; an exception is displayed, not raised."""
    try:
        code()
    except Exception as error:  # noqa: BLE001 - the purpose of this function
        display(error, task)
