"""Progress of the page's tasks, by id."""

from __future__ import annotations

import base64
import io
import random
import string
import time
from collections import OrderedDict
from typing import Any

import gradio as gr
from pydantic import BaseModel

from modules import shared

current_task: str | None = None
pending_tasks: OrderedDict[str, float] = OrderedDict()
finished_tasks: list[str] = []
recorded_results: list[tuple[str, Any]] = []
FINISHED_KEPT = 16
RESULTS_KEPT = 2


def start_task(id_task: str | None) -> None:
    global current_task  # noqa: PLW0603 - A1111's name, read by the API
    current_task = id_task
    if id_task in pending_tasks:
        del pending_tasks[id_task]


def finish_task(id_task: str | None) -> None:
    global current_task  # noqa: PLW0603
    if current_task == id_task:
        current_task = None
    finished_tasks[:] = [*finished_tasks, id_task][-FINISHED_KEPT:]


def create_task_id(task_type: str) -> str:
    """An id such as task(txt2img-A1B2C3D)."""
    tail = "".join(random.choices(string.ascii_uppercase + string.digits, k=7))
    return f"task({task_type}-{tail})"


def record_results(id_task: str | None, res: Any) -> None:
    recorded_results[:] = [*recorded_results, (id_task, res)][-RESULTS_KEPT:]


def add_task_to_queue(id_job: str) -> None:
    pending_tasks.update({id_job: time.time()})


class PendingTasksResponse(BaseModel):
    size: int
    tasks: list[str]


class ProgressRequest(BaseModel):
    id_task: str | None = None
    id_live_preview: int = -1
    live_preview: bool = True


class ProgressResponse(BaseModel):
    active: bool
    queued: bool
    completed: bool
    progress: float | None = None
    eta: float | None = None
    live_preview: str | None = None
    id_live_preview: int | None = None
    textinfo: str | None = None


def setup_progress_api(app) -> None:
    app.get("/internal/pending-tasks")(get_pending_tasks)
    app.post("/internal/progress", response_model=ProgressResponse)(progressapi)


def get_pending_tasks() -> PendingTasksResponse:
    return PendingTasksResponse(size=len(pending_tasks), tasks=list(pending_tasks))


def fraction_done() -> float:
    """Part of the current job that is done, 0 to 1."""
    state = shared.state
    if state.job_count <= 0:
        return 0.0
    step = state.sampling_step / state.sampling_steps if state.sampling_steps > 0 else 0.0
    return min((state.job_no + step) / state.job_count, 1.0)


def new_preview(known: int) -> tuple[str | None, int]:
    """(the live preview as a data URI, its number); (None, known) if there is none newer."""
    state = shared.state
    state.set_current_image()
    picture, number = state.current_image, state.id_live_preview
    if picture is None or number == known:
        return None, known
    kind, file = shared.opts.live_previews_image_format, io.BytesIO()
    picture.save(file, format=kind)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode('ascii')}", number


def progressapi(req: ProgressRequest) -> ProgressResponse:
    known = {
        "active": req.id_task is not None and req.id_task == current_task,
        "queued": req.id_task in pending_tasks,
        "completed": req.id_task in finished_tasks,
    }
    if not known["active"]:
        return ProgressResponse(**known, id_live_preview=-1, textinfo="In queue" if known["queued"] else "Waiting...")
    done = fraction_done()
    elapsed = time.time() - shared.state.time_start
    wanted = req.live_preview and shared.opts.live_previews_enable
    preview, number = new_preview(req.id_live_preview) if wanted else (None, req.id_live_preview)
    return ProgressResponse(
        **known,
        progress=done,
        eta=elapsed / done - elapsed if done > 0 else None,
        live_preview=preview,
        id_live_preview=number,
        textinfo=shared.state.textinfo,
    )


def restore_progress(id_task: str):
    """Wait for a task of an earlier page and give its result."""
    while id_task in (current_task, *pending_tasks):
        time.sleep(0.1)
    for known, result in recorded_results:
        if known == id_task:
            return result
    return gr.update(), gr.update(), gr.update(), f"Couldn't restore progress for {id_task}: its results are gone"
