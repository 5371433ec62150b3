"""A UNet of the right shape and class names with next to no arithmetic, for tests of what is hung on it."""

import torch
from torch import nn


class ResBlock(nn.Module):
    def __init__(self, channels, out_channels):
        super().__init__()
        self.out_channels = out_channels
        self.in_layers = nn.Sequential(nn.GroupNorm(8, channels), nn.SiLU())
        self.out_layers = nn.Sequential(nn.GroupNorm(8, out_channels), nn.SiLU())
        self.mix = nn.Conv2d(channels, out_channels, 1)

    def forward(self, x):
        return self.out_layers(self.mix(self.in_layers(x)))


class SpatialTransformer(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.in_channels = channels
        self.norm = nn.GroupNorm(8, channels)

    def forward(self, x):
        return x + self.norm(x)


class Upsample(nn.Module):
    def forward(self, x):
        return x


class FakeUNet(nn.Module):
    """SD1.5's layout: 12 input blocks, a middle block, 12 output blocks; widths 32, 64, 96, 96."""

    widths = (32, 64, 96, 96)

    def __init__(self):
        super().__init__()
        w = self.widths
        self.stem = nn.Conv2d(4, w[0], 1)
        blocks, channels = [nn.Sequential(self.stem)], w[0]
        for level, width in enumerate(w):
            for _ in range(2):
                layers = [ResBlock(channels, width)] + ([SpatialTransformer(width)] if level < 3 else [])
                blocks.append(nn.Sequential(*layers))
                channels = width
            if level < 3:
                blocks.append(nn.Sequential(Upsample()))
        self.input_blocks = nn.ModuleList(blocks)
        self.middle_block = nn.Sequential(ResBlock(w[3], w[3]), SpatialTransformer(w[3]), ResBlock(w[3], w[3]))
        blocks = []
        for level, width in reversed(list(enumerate(w))):
            for i in range(3):
                layers = [ResBlock(channels, width)] + ([SpatialTransformer(width)] if level < 3 else [])
                blocks.append(nn.Sequential(*layers, *([Upsample()] if i == 2 and level else [])))
                channels = width
        self.output_blocks = nn.ModuleList(blocks)
        self.out = nn.Sequential(nn.GroupNorm(8, channels), nn.SiLU(), nn.Conv2d(channels, 4, 1))

    def forward(self, x):
        for block in (*self.input_blocks, self.middle_block, *self.output_blocks):
            x = block(x)
        return self.out(x)


class FakeMotion(nn.Module):
    """A motion module that mixes frames: each frame gets a share of the mean of its clip."""

    def __init__(self, channels):
        super().__init__()
        self.channels = channels
        self.share = nn.Parameter(torch.tensor(0.5, dtype=torch.float64), requires_grad=False)
        self.calls = []

    def forward(self, x, frames, **_memory):
        self.calls.append(frames)
        clips = x.unflatten(0, (-1, frames))
        return (clips + self.share * clips.mean(1, keepdim=True)).flatten(0, 1)


class FakeFamily:
    def __init__(self, across_frames):
        self.norm_across_frames = across_frames
        self.label = "a test family"


class FakeMotionModel(nn.Module):
    """Motion modules for every slot of FakeUNet."""

    def __init__(self, *, across_frames=False, mid=True, pe_length=32, widths=FakeUNet.widths):
        super().__init__()
        self.slots = {
            f"down_blocks.{i}.motion_modules.{j}": FakeMotion(c) for i, c in enumerate(widths) for j in (0, 1)
        }
        for i, c in enumerate(reversed(widths)):
            self.slots |= {f"up_blocks.{i}.motion_modules.{j}": FakeMotion(c) for j in (0, 1, 2)}
        if mid:
            self.slots["mid_block.motion_modules.0"] = FakeMotion(widths[-1])
        self.family = FakeFamily(across_frames)
        self.path = type("Path", (), {"name": "fake.safetensors"})()
        self.pe_length = pe_length
        self.released = 0
        self.modules_list = nn.ModuleList(self.slots.values())

    def release(self):
        self.released += 1
