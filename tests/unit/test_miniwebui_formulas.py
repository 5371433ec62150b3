"""miniwebui's samplers, schedules, prompts and noise against what the formulas promise."""

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.miniwebui_engine import host_modules


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    with host_modules(tmp_path_factory.mktemp("data")) as engine:
        yield engine


@pytest.mark.parametrize(
    ("text", "schedule"),
    [
        ("test", [[10, "test"]]),
        ("a [b:3]", [[3, "a "], [10, "a b"]]),
        ("a [b: 3 ]", [[3, "a "], [10, "a b"]]),
        ("a [[[b]]:2]", [[2, "a "], [10, "a [[b]]"]]),
        ("a [b : c : 1] d", [[1, "a b  d"], [10, "a  c  d"]]),
        ("a[b:[c:d:2]:1]e", [[1, "abe"], [2, "ace"], [10, "ade"]]),
        ("a [b::.5] c", [[5, "a b c"], [10, "a  c"]]),
        ("a [unbalanced", [[10, "a [unbalanced"]]),
        ("[fe|]male", [[i, "female" if i % 2 else "male"] for i in range(1, 11)]),
        ("((a][:b:c [d:3]", [[3, "((a][:b:c "], [10, "((a][:b:c d"]]),
        (r"\[a:b:3\]", [[10, r"\[a:b:3\]"]]),
        ("a | [b:3]", [[10, "a | [b:3]"]]),
        ("[(a:2):3]", [[3, ""], [10, "(a:2)"]]),
    ],
)
def test_prompt_editing(engine, text, schedule):
    assert engine.prompt_schedule.schedule(text, 10) == schedule


def test_prompt_editing_counts_on_in_the_second_pass(engine):
    assert engine.prompt_schedule.schedule("a [b:.5] c", 10, 10) == [[10, "a b c"]]
    assert engine.prompt_schedule.schedule("a [b:1.5] c", 10, 10) == [[5, "a  c"], [10, "a b c"]]
    assert engine.prompt_schedule.schedule("a [b:12] c", 10, 10) == [[2, "a  c"], [10, "a b c"]]


@settings(deadline=None)
@given(st.text("[]():|\\a1. ", max_size=40), st.integers(1, 30))
def test_any_prompt_has_a_schedule_that_ends_at_the_last_step(engine, text, steps):
    schedule = engine.prompt_schedule.schedule(text, steps)
    ends = [end for end, _ in schedule]
    assert ends == sorted(set(ends))
    assert ends[-1] == steps
    assert all(len(part) <= len(text) for _, part in schedule)
    if not any(number.isdigit() for number in text) and "|" not in text:
        assert schedule == [[steps, text]]


@settings(deadline=None)
@given(st.integers(1, 3000))
def test_deep_brackets_do_not_end_the_host(engine, depth):
    assert engine.prompt_schedule.schedule("(" * depth, 5) == [[5, "(" * depth]]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("normal text", [["normal text", 1.0]]),
        ("an (important) word", [["an ", 1.0], ["important", 1.1], [" word", 1.0]]),
        ("(unbalanced", [["unbalanced", 1.1]]),
        (r"\(literal\]", [["(literal]", 1.0]]),
        ("(unnecessary)(parens)", [["unnecessaryparens", 1.1]]),
        ("(a:1.3) [b]", [["a", 1.3], [" ", 1.0], ["b", 1 / 1.1]]),
        ("a BREAK b", [["a", 1.0], ["BREAK", -1], ["b", 1.0]]),
        ("", [["", 1.0]]),
        ("a:b)", [["a:b)", 1.0]]),
    ],
)
def test_emphasis(engine, text, pieces):
    assert engine.prompt_parser.parse_prompt_attention(text) == [[t, pytest.approx(w)] for t, w in pieces]


def test_parts_of_a_prompt(engine):
    found, parts, _ = engine.prompt_parser.get_multicond_prompt_list(["a cat :1.5 AND a dog", "a dog AND x: -.5"])
    assert parts == ["a cat", " a dog", "a dog", " x"]
    assert found == [[(0, 1.5), (1, 1.0)], [(2, 1.0), (3, -0.5)]]


def test_rows_of_and_are_sorted_by_picture(engine):
    parser = engine.prompt_parser

    class Model:
        @staticmethod
        def get_learned_conditioning(texts):
            return [torch.full((77 * (1 + (x == "long")), 1), float(ord(x[0]))) for x in (t.strip() for t in texts)]

    cond = parser.get_multicond_learned_conditioning(Model, ["a AND long", "b:2 AND c"], 4)
    rows, tensor = parser.reconstruct_multicond_batch(cond, 0)
    assert rows == [[(0, 1.0), (1, 1.0)], [(2, 2.0), (3, 1.0)]]
    assert [chr(int(x)) for x in tensor[:, 0, 0]] == ["a", "l", "b", "c"]
    assert tensor.shape == (4, 154, 1)


class Model:
    """Data that is Gaussian with deviation ``spread``: what the best denoiser answers is known exactly."""

    def __init__(self, spread=0.5):
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        self.alphas_cumprod = torch.cumprod(1 - betas, 0).float()
        self.spread, self.device = spread, torch.device("cpu")

    def denoised(self, x, sigma, **_):
        return x * self.spread**2 / (self.spread**2 + sigma[:, None, None, None] ** 2)

    def eps(self, x, timestep, **_):
        index = timestep.clamp(0, 999)
        low = index.floor().long()
        log = torch.lerp(*(self.alphas_cumprod[i].log() for i in (low, (low + 1).clamp(max=999))), index - low)
        alpha = log.exp()[:, None, None, None]
        return (1 - alpha).sqrt() * x / (alpha * self.spread**2 + 1 - alpha)


def error(made, expected):
    return float((made - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize(
    ("name", "order"),
    [("sample_euler", 1), ("sample_heun", 2), ("sample_dpmpp_2m", 2), ("sample_restart", 2)],
)
def test_sigma_samplers_follow_the_flow_to_their_order(engine, name, order):
    model, noise = Model(), torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    function = getattr(engine.sd_samplers_functions, name)
    wants_noise = {} if name == "sample_dpmpp_2m" else {"noise_like": torch.zeros_like}
    errors = []
    for n in (9, 18):
        sigmas = engine.sd_schedulers.karras(n, 0.002, 14.6)
        steps = []
        made = function(
            model.denoised, noise * sigmas[0], sigmas, callback=lambda d, to=steps: to.append(d["i"]), **wants_noise
        )
        assert steps == list(range(n))
        errors.append(error(made, noise * sigmas[0] * model.spread / (model.spread**2 + sigmas[0] ** 2) ** 0.5))
    assert errors[0] < (0.5 if order == 1 else 0.15)
    assert errors[0] / errors[1] > 0.75 * 2**order


@pytest.mark.parametrize("name", ["sample_euler_ancestral", "sample_dpmpp_sde", "sample_dpmpp_2m_sde"])
def test_noisy_samplers_give_data_of_the_right_spread(engine, name):
    model, generator = Model(), torch.Generator().manual_seed(0)
    sigmas = engine.sd_schedulers.karras(30, 0.03, 14.6)
    x = torch.randn(64, 4, 8, 8, generator=generator) * sigmas[0]

    def draw(*_):
        return torch.randn(x.shape, generator=generator)

    noise = {"noise_like": draw} if name == "sample_euler_ancestral" else {"noise_sampler": draw}
    made = getattr(engine.sd_samplers_functions, name)(model.denoised, x, sigmas, **noise)
    assert made.std() == pytest.approx(model.spread, rel=0.12)
    assert abs(made.mean()) < 0.02


@pytest.mark.parametrize(("name", "bound"), [("ddim", 0.03), ("plms", 0.02), ("unipc", 0.02)])
def test_timestep_samplers_follow_the_flow(engine, name, bound):
    model, x = Model(), torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))

    class Denoiser:
        inner_model = SimpleNamespace(inner_model=model)

        def __call__(self, x, timestep, **_):
            return model.eps(x, timestep)

    source = engine.sd_samplers_unipc if name == "unipc" else engine.sd_samplers_timesteps_impl
    noise = {"noise_like": torch.zeros_like} if name == "ddim" else {}
    errors = []
    for stride in (50, 10):
        timesteps = (torch.arange(0, 1000, stride) + 1).clamp(0, 999)
        made = getattr(source, name)(Denoiser(), x, timesteps, **noise)
        alphas = model.alphas_cumprod
        start, end = alphas[timesteps[-1] if name != "unipc" else -1], alphas[0]
        spread = [(a * model.spread**2 + 1 - a) ** 0.5 for a in (start, end)]
        errors.append(error(made, x * spread[1] / spread[0]))
    assert errors[1] < bound
    assert errors[0] > 2.5 * errors[1]


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 60))
def test_schedules_go_down_to_0(engine, n):
    wrap = engine.sd_denoisers.CompVisDenoiser(Model())
    low, high = wrap.sigmas[0].item(), wrap.sigmas[-1].item()
    for scheduler in engine.sd_schedulers.schedulers[1:]:
        more = {"inner_model": wrap} if scheduler.need_inner_model else {}
        sigmas = scheduler.function(n=n, sigma_min=low, sigma_max=high, device="cpu", **more)
        assert sigmas.dtype == torch.float32
        assert (sigmas[1:] < sigmas[:-1]).all(), scheduler.name
        assert sigmas[-1] == pytest.approx(low if scheduler.name == "kl_optimal" else 0)
        if scheduler.name not in ("ddim",):
            assert len(sigmas) == n + 1, scheduler.name
            assert sigmas[0] == pytest.approx(high, rel=0.1), scheduler.name


@settings(deadline=None)
@given(st.floats(0, 999))
def test_timesteps_and_sigmas_are_inverse(engine, t):
    wrap = engine.sd_denoisers.CompVisDenoiser(Model())
    assert float(wrap.sigma_to_t(wrap.t_to_sigma(torch.tensor(t)))) == pytest.approx(t, abs=0.02)


def test_zero_terminal_snr(engine):
    before = Model().alphas_cumprod
    after = engine.sd_models.rescale_zero_terminal_snr_abar(before)
    assert after[0] == pytest.approx(before[0].item())
    assert 0 < after[-1] < 1e-7
    assert (after[1:] < after[:-1]).all()
    assert torch.equal(before, Model().alphas_cumprod)


def test_noise_of_a_batch_is_each_pictures_own(engine):
    shape = (4, 6, 5)
    batch = engine.rng.ImageRNG(shape, [1, 2, 3])
    first, second = batch.next(), batch.next()
    single = engine.rng.ImageRNG(shape, [2])
    assert torch.equal(first[1], single.next()[0])
    assert torch.equal(second[1], single.next()[0])
    assert not torch.equal(first, second)


def test_variation_seeds_move_the_noise_on_the_sphere(engine):
    shape = (4, 64, 64)
    start, end = (engine.rng.ImageRNG(shape, [s]).next()[0] for s in (1, 9))
    middle = engine.rng.ImageRNG(shape, [1], [9], 0.5).next()[0]
    assert middle.std() == pytest.approx(1, abs=0.05)
    away = [(middle - x).norm().item() for x in (start, end)]
    assert away[0] == pytest.approx(away[1], rel=0.05)
    assert torch.equal(engine.rng.ImageRNG(shape, [1], [9], 0.0).next()[0], start)


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(1, 24), st.integers(0, 40), st.integers(1, 24))
def test_the_region_of_inpainting_has_the_ratio_and_stays_inside(engine, x, w, y, h):
    x1, y1, x2, y2 = engine.masking.expand_crop_region((x, y, x + w, y + h), 64, 64, 64, 64)
    assert 0 <= x1 <= x < x + w <= x2 <= 64
    assert 0 <= y1 <= y < y + h <= y2 <= 64
    assert math.isclose(x2 - x1, y2 - y1, abs_tol=1)
