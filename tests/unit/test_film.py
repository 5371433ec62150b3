"""FILM through a TorchScript file of the same signature."""

import pytest
import torch
from PIL import Image

from lib_animatediff.errors import ModelFileError
from lib_animatediff.film import film_between
from lib_animatediff.video.interpolate import interpolate


class Blend(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(1))

    def forward(self, a: torch.Tensor, b: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        assert a.shape[2] % 64 == 0
        assert a.shape[3] % 64 == 0
        return (a + (b - a) * t.view(1, 1, 1, 1)) * self.gain


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "film_net_fp16.pt"
    torch.jit.script(Blend()).save(str(path))
    return path


def test_frames_between_come_from_the_network_in_the_size_of_the_frames(file):
    frames = [Image.new("RGB", (70, 33), (0, 0, 0)), Image.new("RGB", (70, 33), (200, 100, 40))]
    made = list(interpolate(frames, 4, film_between(file, torch.device("cpu"))))
    assert [frame.getpixel((69, 32)) for frame in made] == [
        (0, 0, 0),
        (50, 25, 10),
        (100, 50, 20),
        (150, 75, 30),
        (200, 100, 40),
    ]
    assert made[0] is frames[0]


def test_without_the_file_the_sentence_says_where_it_goes(tmp_path):
    with pytest.raises(ModelFileError, match=r"needs the file film_net_fp16\.pt in .+ or choose Flow"):
        film_between(tmp_path / "film_net_fp16.pt", torch.device("cpu"))


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "film_net_fp16.pt"
    path.write_bytes(b"not a model")
    with pytest.raises(ModelFileError, match="no TorchScript file"):
        film_between(path, torch.device("cpu"))
