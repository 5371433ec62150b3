"""Loads scripts and runs their hooks in order, as A1111's module of this name."""

from __future__ import annotations

import inspect
import os
import sys
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import gradio as gr

from modules import errors, extensions, paths, script_callbacks, script_loading, timer, util
from modules.script_base import (
    COMPONENT_HOOKS,
    HOOKS,
    AlwaysVisible,
    MaskBlendArgs,  # noqa: F401
    OnComponent,
    PostprocessBatchListArgs,  # noqa: F401
    PostprocessImageArgs,  # noqa: F401
    PostProcessMaskOverlayArgs,  # noqa: F401
    PostSampleArgs,  # noqa: F401
    Script,
    ScriptBuiltinUI,
)
from modules.scripts_files import ScriptFile, list_folder

_folder = paths.script_path


def basedir() -> str:
    """Folder of the extension whose script is being loaded."""
    return _folder


class ScriptClassData(NamedTuple):
    script_class: type
    path: str
    basedir: str
    module: Any


scripts_data: list[ScriptClassData] = []
postprocessing_scripts_data: list = []


def list_scripts(folder: str, extension: str, *, include_extensions: bool = True) -> list[ScriptFile]:
    """Files of a sub-folder in the host and in each extension, ordered by the wishes of metadata.ini."""
    files: dict[str, ScriptFile] = {x.filename: x for x in list_folder(paths.script_path, folder, extension)}
    after: dict[str, list[str]] = {name: [] for name in files}
    owned: dict[str, list[str]] = {}
    wishes: list[tuple[str, str, str]] = []
    for ext in extensions.active() if include_extensions else []:
        for file in ext.list_files(folder, extension):
            name = f"{ext.canonical_name}/{file.filename}" if file.filename in files else file.filename
            files[name], after[name] = file, []
            owned.setdefault(ext.canonical_name, []).append(name)
            section = f"{folder}/{file.filename}"
            wishes += [(name, "After", x) for x in ext.metadata.get_script_requirements("After", section)]
            wishes += [(name, "Before", x) for x in ext.metadata.get_script_requirements("Before", section)]
    for name, kind, other in wishes:
        for target in owned.get(other, [other]):
            if kind == "After":
                after[name].append(target)
            elif target in after:
                after[target].append(name)
    return [files[x] for x in util.topological_sort(after)]


def list_files_with_name(filename: str) -> list[str]:
    """Paths of a file of this name at the root of the host and of each extension."""
    folders = [paths.script_path, *[x.path for x in extensions.active()]]
    return [x for x in (os.path.join(folder, filename) for folder in folders) if os.path.isfile(x)]


@contextmanager
def _on_path(folder: str):
    """Put an extension's root on sys.path while its script loads; the scripts it imports stay imported."""
    global _folder  # noqa: PLW0603 - A1111's basedir() has no other way to know
    saved = list(sys.path)
    if folder != paths.script_path:
        sys.path.insert(0, folder)
    _folder = folder
    try:
        yield
    finally:
        sys.path[:] = saved
        _folder = paths.script_path


def load_scripts() -> None:
    """Load every script; one that fails is reported and left out."""
    global scripts_txt2img, scripts_img2img
    for forget in (scripts_data.clear, script_callbacks.clear_callbacks):
        forget()
    own = list_scripts(os.path.join("modules", "processing_scripts"), ".py", include_extensions=False)
    for file in list_scripts("scripts", ".py") + own:
        try:
            with _on_path(file.basedir):
                module = script_loading.load_module(file.path)
            for item in list(vars(module).values()):
                if inspect.isclass(item) and issubclass(item, Script) and item not in (Script, ScriptBuiltinUI):
                    scripts_data.append(ScriptClassData(item, file.path, file.basedir, module))
        except Exception:  # noqa: BLE001 - one script must not stop the host
            errors.report(f"Error loading script: {file.filename}", exc_info=True)
        timer.startup_timer.record(file.filename)
    scripts_txt2img, scripts_img2img = ScriptRunner(), ScriptRunner()


def wrap_call(func, filename: str, funcname: str, *args, default=None, **kwargs):
    """Call `func`; an exception is reported and `default` returned."""
    try:
        return func(*args, **kwargs)
    except Exception:  # noqa: BLE001 - one script must not stop the host
        errors.report(f"{funcname} of {filename} failed", exc_info=True)
    return default


class ScriptRunner:
    """The scripts of one tab: their components, their arguments and their hooks."""

    def __init__(self) -> None:
        self.scripts: list[Script] = []
        self.selectable_scripts: list[Script] = []
        self.alwayson_scripts: list[Script] = []
        self.titles: list[str] = []
        self.title_map: dict[str, Script] = {}
        self.infotext_fields: list = []
        self.paste_field_names: list[str] = []
        self.inputs: list = [None]
        # when -> id of a component -> (callback, script)
        self.component_callbacks: dict[str, dict[str, list]] = {"before": {}, "after": {}}

    def initialize_scripts(self, is_img2img: bool) -> None:
        """Make one object of every script class for this tab."""
        tabs = ("txt2img", "img2img")
        for group in (self.scripts, self.alwayson_scripts, self.selectable_scripts):
            group.clear()
        for data in scripts_data:
            try:
                script = data.script_class()
                script.filename, script.tabname = data.path, tabs[is_img2img]
                script.is_txt2img, script.is_img2img = (tab == script.tabname for tab in tabs)
                visibility = script.show(is_img2img)
            except Exception:  # noqa: BLE001 - one script must not stop the host
                errors.report(f"Error # failed to initialize Script {data.module}: ", exc_info=True)
                continue
            if visibility:
                script.alwayson = visibility is AlwaysVisible
                self.scripts.append(script)
                (self.alwayson_scripts if script.alwayson else self.selectable_scripts).append(script)
        self.take_component_callbacks()

    def take_component_callbacks(self) -> None:
        """Take over what the scripts asked for with on_before_component and on_after_component."""
        for script in self.scripts:
            for when, known in self.component_callbacks.items():
                wanted = f"on_{when}_component_elem_id"
                for elem_id, callback in getattr(script, wanted) or []:
                    known.setdefault(elem_id, []).append((callback, script))
                setattr(script, wanted, None)

    def create_script_ui(self, script: Script) -> None:
        """Make a script's components and note which arguments are its own."""
        script.args_from = script.args_to = len(self.inputs)
        try:
            self._create_script_ui(script)
        except Exception:  # noqa: BLE001 - one script must not stop the host
            errors.report(f"The components of the script {script.filename} could not be made", exc_info=True)

    def _create_script_ui(self, script: Script) -> None:
        from modules.api import models

        made = wrap_call(script.ui, script.filename, "ui", script.is_img2img)
        script.controls = made
        if made is None:
            return
        controls, title = list(made), wrap_call(script.title, script.filename, "title") or script.filename
        script.name, source = title.lower(), os.path.basename(script.filename)
        for control in controls:
            control.custom_script_source = source
        script.api_info = models.ScriptInfo(
            name=script.name,
            is_img2img=script.is_img2img,
            is_alwayson=script.alwayson,
            args=[models.script_arg(x) for x in controls],
        )
        self.infotext_fields += script.infotext_fields or []
        self.paste_field_names += script.paste_field_names or []
        self.inputs += controls
        script.args_to += len(controls)

    def setup_ui_for_section(self, section: str | None, scriptlist: list[Script] | None = None) -> None:
        """Make the components of a list of scripts: by default, of those that are always on in a section."""
        if scriptlist is None:
            scriptlist = [x for x in self.alwayson_scripts if x.section == section]
        for script in scriptlist:
            around = gr.Group(visible=script.alwayson) if script.create_group else nullcontext()
            with around as script.group:
                self.create_script_ui(script)

    def prepare_ui(self) -> None:
        """Forget the components of an earlier page."""
        self.inputs = [None]
        self.infotext_fields = []
        self.paste_field_names = []

    def setup_ui(self) -> list:
        """Make the always-on scripts of no section, the list of scripts and the panels it shows; all inputs."""
        titles = {x: wrap_call(x.title, x.filename, "title") or x.filename for x in self.scripts}
        self.title_map = {title.lower(): script for script, title in titles.items()}
        self.titles = [titles[x] for x in self.selectable_scripts]
        self.setup_ui_for_section(section=None)
        dropdown = gr.Dropdown(
            label="Script", elem_id="script_list", choices=["None", *self.titles], value="None", type="index"
        )
        self.inputs[0] = dropdown
        self.setup_ui_for_section(section=None, scriptlist=self.selectable_scripts)
        groups = [x.group for x in self.selectable_scripts]
        selectable = list(self.selectable_scripts)

        def select_script(index: int | None):
            updates = [gr.update(visible=bool(index) and index - 1 == i) for i in range(len(selectable))]
            return updates[0] if len(updates) == 1 else updates

        if groups:
            dropdown.change(fn=select_script, inputs=[dropdown], outputs=groups)
        self.infotext_fields.append((dropdown, lambda params: gr.update(value=params.get("Script", "None"))))
        for script, group in zip(selectable, groups, strict=True):
            title = titles[script]
            self.infotext_fields.append((group, lambda params, t=title: gr.update(visible=params.get("Script") == t)))
        self.take_component_callbacks()
        return self.inputs

    def run(self, p, *args):
        """Run the script chosen in the list; None if none was."""
        if not args[0]:
            return None
        script = self.selectable_scripts[args[0] - 1]
        return script.run(p, *args[script.args_from : script.args_to])

    def script(self, title: str) -> Script | None:
        """The script of a title, in whatever case."""
        key = title.lower()
        return self.title_map.get(key)

    def ordered_scripts(self, hook: str) -> list[Script]:
        """Scripts that define a hook, in the order of metadata.ini and of the user's settings."""
        everyone = hook in COMPONENT_HOOKS
        callbacks: list[script_callbacks.ScriptCallback] = []
        for script in self.scripts if everyone else self.alwayson_scripts:
            if getattr(type(script), hook, None) is not getattr(Script, hook, None):
                script_callbacks.add_callback(
                    callbacks, script, category=f"script_{hook}", name=type(script).__name__, filename=script.filename
                )
        return [x.callback for x in script_callbacks.sort_callbacks(f"script_{hook}", callbacks)]

    def call(self, hook: str, p, *leading, skip=lambda script: False, **kwargs) -> None:
        """Call a hook of each script with its own arguments; what one raises is reported and the rest go on."""
        for script in self.ordered_scripts(hook):
            if skip(script):
                continue
            try:
                args = p.script_args[script.args_from : script.args_to]
                getattr(script, hook)(p, *leading, *args, **kwargs)
            except Exception:  # noqa: BLE001 - hooks never stop a generation in A1111
                errors.report(f"Error running {hook}: {script.filename}", exc_info=True)

    def setup_scrips(self, p, *, is_ui: bool = True) -> None:
        """The hook "setup"; parts of the page have no say in a request of the API."""
        self.call("setup", p, skip=lambda script: script.setup_for_ui_only and not is_ui)

    def before_component(self, component, **kwargs) -> None:
        self._component("before", component, kwargs.get("elem_id"), kwargs)

    def after_component(self, component, **kwargs) -> None:
        self._component("after", component, component.elem_id, kwargs)

    def _component(self, when: str, component, elem_id: str | None, kwargs: dict) -> None:
        hook = f"{when}_component"
        for callback, script in self.component_callbacks[when].get(elem_id, []):
            wrap_call(callback, script.filename, f"on_{hook}", OnComponent(component=component))
        for script in self.ordered_scripts(hook):
            wrap_call(getattr(script, hook), script.filename, hook, component, **kwargs)


def _hook_of_runner(hook: str):
    """A method of the runner that calls the hook of each script."""
    return lambda self, p, *leading, **kwargs: self.call(hook, p, *leading, **kwargs)


for _hook in HOOKS:
    if _hook != "setup":
        setattr(ScriptRunner, _hook, _hook_of_runner(_hook))

scripts_txt2img = scripts_img2img = scripts_current = None
reload_scripts = load_scripts
