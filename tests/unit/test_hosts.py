"""The adapters' schedules and the choice between them, on stand-ins for the hosts' engines."""

import importlib
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn

from lib_animatediff.errors import UnsupportedError
from lib_animatediff.motion.files import MotionModel
from lib_animatediff.noise.schedule import alphas_cumprod, rescale_zero_terminal_snr

TABLE = alphas_cumprod("linear", 0.00085, 0.012)
CHECKPOINTS = alphas_cumprod("scaled_linear", 0.00085, 0.012)


def engine(monkeypatch, **modules):
    """A `modules` package of these modules, and the adapters imported anew against it."""
    package = ModuleType("modules")
    package.__path__ = []
    monkeypatch.setitem(sys.modules, "modules", package)
    for name, contents in {"images": {}, "devices": {"device": torch.device("cpu")}, **modules}.items():
        module = ModuleType(f"modules.{name}")
        vars(module).update(contents)
        setattr(package, name, module)
        monkeypatch.setitem(sys.modules, f"modules.{name}", module)
    for name in ("webui", "a1111", "forge"):
        monkeypatch.delitem(sys.modules, f"lib_animatediff.hosts.{name}", raising=False)


class Denoiser:
    """CFGDenoiser's wrap: built when it is first asked for, from the tables of that moment."""

    def __init__(self, tables, *, timesteps=False):
        self.model_wrap, self.tables = None, tables
        if timesteps:
            self.alphas = tables()

    @property
    def inner_model(self):
        if self.model_wrap is None:
            self.model_wrap = SimpleNamespace(table=self.tables())
        return self.model_wrap


def sampler_for(tables, **options):
    denoiser = Denoiser(tables, **options)
    return SimpleNamespace(model_wrap_cfg=denoiser, model_wrap=denoiser.inner_model, sampler_extra_args={})


class A1111Scene:
    def __init__(self, monkeypatch, *, half=False):
        def override(model, p):
            model.alphas_cumprod = model.alphas_cumprod_original.half() if half else model.alphas_cumprod_original

        self.refiner = None
        engine(
            monkeypatch,
            shared={"opts": SimpleNamespace(), "state": SimpleNamespace(interrupted=False, skipped=False)},
            sd_models={"apply_alpha_schedule_override": override},
            sd_unet={"current_unet": None},
            sd_samplers_common={"apply_refiner": self.apply_refiner},
        )
        self.host = importlib.import_module("lib_animatediff.hosts.a1111").A1111()
        self.p = SimpleNamespace(sd_model=self.model("first"), refiner_checkpoint_info=None)

    @staticmethod
    def model(name):
        return SimpleNamespace(
            alphas_cumprod=CHECKPOINTS.clone(), alphas_cumprod_original=CHECKPOINTS.clone(), sd_checkpoint_info=name
        )

    def tables(self):
        return self.p.sd_model.alphas_cumprod

    def apply_refiner(self, denoiser, sigma=None):
        assert torch.equal(self.tables(), CHECKPOINTS), "the host swaps checkpoints with its own tables in place"
        if self.refiner is None:
            return False
        self.refiner(self)
        denoiser.model_wrap = None
        return True


class ForgeScene:
    def __init__(self, monkeypatch, *, zero_terminal=False, engine_name="predictor"):
        schedule = "Zero Terminal SNR" if zero_terminal else "Default"
        engine(
            monkeypatch,
            shared={"opts": SimpleNamespace(sd_noise_schedule=schedule), "state": SimpleNamespace()},
            sd_samplers_common={"apply_refiner": lambda cfg_denoiser, x: False},
        )
        self.host = importlib.import_module("lib_animatediff.hosts.forge").Forge()
        self.engine_name = engine_name
        self.p = SimpleNamespace(sd_model=self.model(), refiner_checkpoint_info="some")

    def model(self):
        class Prediction(nn.Module):
            def set_sigmas(self, sigmas):
                self.register_buffer("sigmas", sigmas.float())
                self.register_buffer("log_sigmas", sigmas.log().float())

        prediction = Prediction()
        sigmas = ((1 - CHECKPOINTS.double()) / CHECKPOINTS.double()) ** 0.5
        prediction.set_sigmas(sigmas)  # logarithms of the doubles: not those of the floats
        unet = SimpleNamespace(model=SimpleNamespace(**{self.engine_name: prediction}))
        return SimpleNamespace(forge_objects=SimpleNamespace(unet=unet))

    def prediction(self):
        return getattr(self.p.sd_model.forge_objects.unet.model, self.engine_name)

    def tables(self):
        return self.prediction().sigmas


@pytest.mark.parametrize("timesteps", [False, True])
def test_a1111_has_the_motion_models_table_for_the_length_of_a_run(monkeypatch, timesteps):
    scene = A1111Scene(monkeypatch)
    sampler = sampler_for(scene.tables, timesteps=timesteps)
    model, wrap = scene.p.sd_model, sampler.model_wrap
    own = (model.alphas_cumprod, model.alphas_cumprod_original)
    with scene.host.noise_schedule(scene.p, sampler, TABLE):
        assert torch.equal(model.alphas_cumprod, TABLE)
        assert torch.equal(sampler.model_wrap.table, TABLE)
        assert sampler.model_wrap_cfg.model_wrap is sampler.model_wrap
        if timesteps:
            assert torch.equal(sampler.model_wrap_cfg.alphas, TABLE)
    assert (model.alphas_cumprod, model.alphas_cumprod_original) == own, "the very same tensors"
    assert sampler.model_wrap is wrap
    assert sampler.model_wrap_cfg.model_wrap is wrap
    if timesteps:
        assert sampler.model_wrap_cfg.alphas is own[0]


def test_a1111s_options_act_on_our_table(monkeypatch):
    scene = A1111Scene(monkeypatch, half=True)
    with scene.host.noise_schedule(scene.p, sampler_for(scene.tables), TABLE):
        assert torch.equal(scene.p.sd_model.alphas_cumprod, TABLE.half())


def test_a_failing_host_function_leaves_the_tables(monkeypatch):
    scene = A1111Scene(monkeypatch)

    def fail(model, p):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(sys.modules["modules.sd_models"], "apply_alpha_schedule_override", fail)
    own = scene.p.sd_model.alphas_cumprod_original
    with pytest.raises(RuntimeError), scene.host.noise_schedule(scene.p, sampler_for(scene.tables), TABLE):
        pass
    assert scene.p.sd_model.alphas_cumprod_original is own


def swap_object(scene):
    scene.p.sd_model = scene.model("refiner")


def swap_weights(scene):
    scene.p.sd_model.sd_checkpoint_info = "refiner"
    scene.p.sd_model.alphas_cumprod = scene.p.sd_model.alphas_cumprod_original = CHECKPOINTS.clone()


@pytest.mark.parametrize("swap", [None, swap_object, swap_weights])
def test_a_refiner_is_loaded_under_the_hosts_own_tables(monkeypatch, swap):
    scene = A1111Scene(monkeypatch)
    scene.refiner, scene.p.refiner_checkpoint_info = swap, "refiner"
    sampler = sampler_for(scene.tables)
    sampler.sampler_extra_args = {"cond": "new cond", "uncond": "new uncond"}
    first = scene.p.sd_model
    with scene.host.noise_schedule(scene.p, sampler, TABLE) as schedule:
        swapped = scene.host.follow_refiner(scene.p, sampler, None, torch.ones(1), schedule)
        if swap is None:
            assert swapped is None
            assert torch.equal(scene.tables(), TABLE)
        else:
            assert swapped == ("new cond", "new uncond")
            assert torch.equal(scene.tables(), CHECKPOINTS), "until the run attaches itself to it"
    for model in (first, scene.p.sd_model):
        assert torch.equal(model.alphas_cumprod, CHECKPOINTS)
        assert torch.equal(model.alphas_cumprod_original, CHECKPOINTS)


def test_another_unet_in_the_checkpoints_place_is_refused(monkeypatch):
    scene = A1111Scene(monkeypatch)
    active = SimpleNamespace(option=SimpleNamespace(label="[TRT] model"))
    monkeypatch.setattr(sys.modules["modules.sd_unet"], "current_unet", active)
    with pytest.raises(Exception, match=r"\[TRT\] model.+Choose None"):
        scene.host.check(scene.p)


@pytest.mark.parametrize("engine_name", ["predictor", "model_sampling"])
@pytest.mark.parametrize("zero_terminal", [False, True])
def test_forge_gets_our_sigmas_and_its_own_back_to_the_bit(monkeypatch, engine_name, zero_terminal):
    scene = ForgeScene(monkeypatch, engine_name=engine_name, zero_terminal=zero_terminal)
    sampler = sampler_for(scene.tables)
    own = (scene.prediction().sigmas.clone(), scene.prediction().log_sigmas.clone())
    assert not torch.equal(own[0].log(), own[1]), "else this test would not notice logarithms computed anew"
    expected = rescale_zero_terminal_snr(TABLE) if zero_terminal else TABLE
    with scene.host.noise_schedule(scene.p, sampler, TABLE) as schedule:
        torch.testing.assert_close(scene.prediction().sigmas, ((1 - expected) / expected) ** 0.5)
        assert torch.equal(sampler.model_wrap.table, scene.prediction().sigmas)
        assert torch.equal(scene.p.sd_model.alphas_cumprod, expected)
        assert scene.host.follow_refiner(scene.p, sampler, torch.ones(1), torch.ones(1), schedule) is None
        torch.testing.assert_close(scene.prediction().sigmas, ((1 - expected) / expected) ** 0.5)
    assert torch.equal(scene.prediction().sigmas, own[0])
    assert torch.equal(scene.prediction().log_sigmas, own[1])
    assert not hasattr(scene.p.sd_model, "alphas_cumprod"), "it had none before"


class Patcher:
    """UnetPatcher's part in memory accounting."""

    def __init__(self, model):
        self.model, self.model_options, self.extra_model_patchers_during_sampling = model, {}, []
        self.memory_required = lambda shape: shape[0] * 100

    def clone(self):
        clone = Patcher(self.model)
        clone.extra_model_patchers_during_sampling = self.extra_model_patchers_during_sampling  # as Forge, shared
        return clone

    def add_extra_torch_module_during_sampling(self, module, cast_to_unet_dtype):
        assert not cast_to_unet_dtype
        patcher = SimpleNamespace(model=module)
        self.extra_model_patchers_during_sampling = [*self.extra_model_patchers_during_sampling, patcher]
        return patcher

    def set_memory_peak_estimation_modifier(self, modifier):
        self.model_options["memory_peak_estimation_modifier"] = modifier


@pytest.mark.parametrize("manager", ["backend.memory_management", "ldm_patched.modules.model_management"])
def test_forges_memory_manager_hears_of_one_window_and_of_the_motion_model(monkeypatch, manager):
    scene = ForgeScene(monkeypatch)
    checkpoint = SimpleNamespace(model="the checkpoint's patcher")
    loaded = SimpleNamespace(current_loaded_models=[checkpoint])
    monkeypatch.setitem(sys.modules, manager, loaded)
    own = Patcher(SimpleNamespace(computation_dtype=torch.float16))
    objects = SimpleNamespace(unet=own)
    p = SimpleNamespace(sd_model=SimpleNamespace(forge_objects=objects))
    motion = MotionModel({"slot": nn.Linear(2, 2)}, family=None, path=None)
    patchers = set()
    for _ in range(2):
        with scene.host.room(p, motion, 16):
            assert objects.unet is not own
            assert motion.slots["slot"].weight.dtype == torch.float16
            (patcher,) = objects.unet.extra_model_patchers_during_sampling
            assert patcher.model is motion
            patchers.add(id(patcher))
            estimate = objects.unet.model_options["memory_peak_estimation_modifier"]
            assert estimate([2 * 100, 4, 8, 8]) == 32 * 100
            assert estimate([2, 4, 8, 8]) == 2 * 100
        assert objects.unet is own
        assert own.extra_model_patchers_during_sampling == []
        assert own.model_options == {}
    assert len(patchers) == 1, "the manager would count the motion model twice"
    unloaded = []
    loaded.current_loaded_models.append(SimpleNamespace(model=patcher, model_unload=lambda: unloaded.append(patcher)))
    motion.release()  # without it the manager's list would keep the weights in memory for ever
    assert loaded.current_loaded_models == [checkpoint]
    assert unloaded == [patcher]
    motion.release()


def test_forge_refuses_weights_of_parts_that_differ_between_frames(monkeypatch):
    def frame(*weights):
        return [SimpleNamespace(weight=weight) for weight in weights]

    host = ForgeScene(monkeypatch).host
    host.check_conds(SimpleNamespace(batch=[frame(1, 0.5), frame(1, 0.5)]))
    with pytest.raises(UnsupportedError, match="same weights in every keyframe"):
        host.check_conds(SimpleNamespace(batch=[frame(1, 0.5), frame(1, 0.4)]))
    A1111Scene(monkeypatch).host.check_conds(SimpleNamespace(batch=[frame(1), frame(2)]))


def test_reforges_dynamic_clip_skip_is_cut_to_the_window(monkeypatch):
    host = ForgeScene(monkeypatch).host
    cond = SimpleNamespace(batch=["a", "b", "c"], shape=(3,))
    sets = {2: (cond, ["x", "y", "z"]), 3: (cond, None)}
    p = SimpleNamespace(dynamic_clip_skip_sets=sets)
    with host.window(p, [2, 0]):
        (part, uncond), (_, none) = p.dynamic_clip_skip_sets[2], p.dynamic_clip_skip_sets[3]
        assert (part.batch, part.shape, uncond, none) == (["c", "a"], (2,), ["z", "x"], None)
    assert p.dynamic_clip_skip_sets is sets
    assert cond.batch == ["a", "b", "c"]
    for plain in (SimpleNamespace(), SimpleNamespace(dynamic_clip_skip_sets=None)):
        before = dict(vars(plain))
        with host.window(plain, [0]):
            assert vars(plain) == before


@pytest.mark.parametrize(
    ("importable", "label"),
    [
        ({"modules.sd_samplers_cfg_denoiser", "ldm.modules"}, "AUTOMATIC1111"),
        ({"modules.sd_samplers_cfg_denoiser", "modules_forge", "backend.patcher"}, "Forge"),
        ({"modules.sd_samplers_cfg_denoiser", "modules_forge", "ldm_patched.modules", "ldm.modules"}, "Forge"),
        ({"modules.sd_samplers_cfg_denoiser", "modules_forge"}, None),
        ({"ldm.modules"}, None),
    ],
)
@pytest.mark.parametrize("has_hook", [True, False])
def test_the_adapter_is_chosen_by_what_the_host_can_do(monkeypatch, importable, label, has_hook):
    hook = {"process_before_every_sampling": None} if has_hook else {}
    engine(
        monkeypatch,
        shared={},
        sd_models={"apply_alpha_schedule_override": None},
        sd_unet={},
        sd_samplers_common={},
        scripts={"Script": type("Script", (), hook)},
    )
    detect = importlib.import_module("lib_animatediff.hosts.detect")
    monkeypatch.setattr(detect, "_importable", lambda name: name in importable)
    host = detect.detect_host()
    assert (host and host.label) == (label if has_hook else None)
