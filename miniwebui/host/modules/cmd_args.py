"""Command-line flags: the slice of A1111's that this host acts on."""

from __future__ import annotations

import argparse
import os

from modules.paths_internal import data_path, default_data_path, normalized_filepath

parser = argparse.ArgumentParser(prog="miniwebui", allow_abbrev=False)
_add = parser.add_argument

_add("--data-dir", type=normalized_filepath, default=default_data_path, help="folder of models, settings and caches")
_add("--models-dir", type=normalized_filepath, default=None, help="folder of models, <data dir>/models by default")
_add("--ckpt", type=normalized_filepath, default=None, help="checkpoint to load")
_add("--ckpt-dir", type=normalized_filepath, default=None, help="one more folder of checkpoints")
_add("--extension", type=normalized_filepath, action="append", default=[], help="extension to load; may be repeated")
_add("--port", type=int, default=None, help="port of the server; 7860 or the next free one by default")
_add("--server-name", type=str, default=None, help="address to listen on")
_add("--listen", action="store_true", help="listen on all addresses")
_add("--api", action="store_true", help="serve the HTTP API beside the page")
_add("--api-log", action="store_true", help="print each API request")
_add("--api-auth", type=str, default=None, help="user:password of the API, several with commas")
_add("--nowebui", action="store_true", help="serve the API only")
_add("--subpath", type=str, default=None, help="path prefix behind a reverse proxy")
_add("--autolaunch", action="store_true", help="open the page in the browser")
_add("--gradio-allowed-path", action="append", default=[data_path], help="folder whose files the page may show")
_add("--timeout-keep-alive", type=int, default=30, help="seconds a connection is kept open")
_add("--no-half", action="store_true", help="keep the model in 32-bit floats")
_add("--no-half-vae", action="store_true", help="keep the autoencoder in 32-bit floats")
_add("--precision", choices=["full", "half", "autocast"], default="autocast", help="precision of the computation")
_add("--upcast-sampling", action="store_true", help="accepted for A1111's sake")
_add("--use-cpu", nargs="+", default=[], type=str.lower, help="parts that run on the CPU: all, sd")
_add("--device-id", type=str, default=None, help="CUDA device to use")
_add("--medvram", action="store_true", help="keep one of the model's three parts on the device at a time")
_add("--lowvram", action="store_true", help="bring the UNet to the device block by block")
_add("--lowram", action="store_true", help="load weights straight to the device")
_add("--disable-nan-check", action="store_true", help="do not check results for NaN")
_add("--no-hashing", action="store_true", help="do not compute the checkpoint's sha256")
_add("--skip-load-model-at-start", action="store_true", help="with --nowebui: load the model at the first request")
_add("--hide-ui-dir-config", action="store_true", help="hide folder settings and refuse to change them")
_add("--freeze-settings", action="store_true", help="refuse every change of settings")
_add("--freeze-settings-in-sections", type=str, default=None, help="sections whose settings cannot change")
_add("--freeze-specific-settings", type=str, default=None, help="settings that cannot change")
_add("--ui-settings-file", type=str, default=os.path.join(data_path, "config.json"), help="file of the settings")
_add("--styles-file", type=str, action="append", default=[], help="accepted for A1111's sake")
_add("--disable-all-extensions", action="store_true", help="load no extension")
_add("--disable-extra-extensions", action="store_true", help="load no extension but built-in ones")
_add("--disable-console-progressbars", action="store_true", help="print no progress bars")
_add("--loglevel", type=str, default=None, help="level of logging: DEBUG, INFO, WARNING, ERROR")
_add("--theme", type=str, default=None, help="light or dark")
_add("--skip-install", action="store_true", help="do not run the extensions' install.py")
# Flags that change nothing here but stand in every A1111 start line.
for _flag in (
    "--skip-prepare-environment", "--skip-torch-cuda-test", "--skip-python-version-check", "--skip-version-check",
    "--no-download-sd-model", "--do-not-download-clip", "--test-server", "--xformers", "--opt-sdp-attention",
    "--opt-split-attention", "--medvram-sdxl", "--enable-insecure-extension-access", "--no-gradio-queue", "-f",
):  # fmt: skip
    _add(_flag, action="store_true", help=argparse.SUPPRESS)
