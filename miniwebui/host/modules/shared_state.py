"""What the host is doing now: the job, its progress, and the wish to stop it."""

from __future__ import annotations

import datetime
import threading
import time

from modules import errors, shared

_FRESH = {
    "skipped": False, "interrupted": False, "stopping_generation": False, "job_no": 0, "sampling_step": 0,
    "sampling_steps": 0, "processing_has_refined_job_count": False, "current_latent": None, "current_image": None,
    "current_image_sampling_step": 0, "id_live_preview": 0, "textinfo": None,
}  # fmt: skip


class State:
    """One job at a time; the names are A1111's because extensions and the API read them."""

    def __init__(self) -> None:
        self.server_start = self.time_start = time.time()
        self._server_command: str | None = None
        self._server_signal = threading.Event()
        self.job, self.job_count = "", 0
        self._reset()

    def _reset(self) -> None:
        vars(self).update(_FRESH, job_timestamp=f"{datetime.datetime.now():%Y%m%d%H%M%S}")

    @property
    def need_restart(self) -> bool:
        """True from the wish to restart to its being heard."""
        return self._server_command == "restart"

    @property
    def server_command(self) -> str | None:
        return self._server_command

    @server_command.setter
    def server_command(self, value: str | None) -> None:
        self._server_command = value
        self._server_signal.set()

    def wait_for_server_command(self, timeout: float | None = None) -> str | None:
        """Wait for "stop" or "restart"; the command is returned once."""
        if not self._server_signal.wait(timeout):
            return None
        self._server_signal.clear()
        command, self._server_command = self._server_command, None
        return command

    def skip(self) -> None:
        self.skipped = True

    def interrupt(self) -> None:
        self.interrupted = True

    def stop_generating(self) -> None:
        vars(self).update(stopping_generation=True)

    def nextjob(self) -> None:
        opts = shared.opts
        if opts.show_progress_every_n_steps == -1 and opts.live_previews_enable:
            self.do_set_current_image()
        self.job_no += 1
        self.sampling_step = self.current_image_sampling_step = 0

    def dict(self) -> dict:
        names = (
            "skipped", "interrupted", "stopping_generation", "job", "job_count", "job_timestamp", "job_no",
            "sampling_step", "sampling_steps",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}

    def begin(self, job: str = "(unknown)") -> None:
        """Start a job; an interrupt asked for before is forgotten."""
        from modules import devices

        self._reset()
        self.time_start = time.time()
        self.job, self.job_count = job, -1
        devices.torch_gc()

    def end(self) -> None:
        from modules import devices

        self.job, self.job_count = "", 0
        devices.torch_gc()

    def set_current_image(self) -> None:
        """Decode the current latent for the live preview if enough steps have gone since the last one."""
        period = shared.opts.show_progress_every_n_steps
        enough = self.sampling_step - self.current_image_sampling_step >= period
        if shared.parallel_processing_allowed and shared.opts.live_previews_enable and period != -1 and enough:
            self.do_set_current_image()

    def do_set_current_image(self) -> None:
        """Decode the current latent for the live preview."""
        latent = self.current_latent
        if latent is None:
            return
        from modules import sd_samplers

        try:
            grid = shared.opts.show_progress_grid
            decode = sd_samplers.samples_to_image_grid if grid else sd_samplers.sample_to_image
            step = self.sampling_step
            self.assign_current_image(decode(latent))
            self.current_image_sampling_step = step
        except Exception:  # noqa: BLE001 - a preview asked for while models are exchanged may fail; the job goes on
            errors.record_exception()

    def assign_current_image(self, image) -> None:
        """Show a picture as the live preview."""
        opaque = image.mode not in ("RGBA", "P") or shared.opts.live_previews_image_format != "jpeg"
        self.current_image = image if opaque else image.convert("RGB")
        self.id_live_preview += 1
