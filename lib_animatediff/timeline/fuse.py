"""How the results of overlapping context windows become one: a weighted mean per frame."""

import math
from collections.abc import Sequence

import torch

FUSE_KINDS = ("pyramid", "flat", "relative", "overlap-linear", "gauss", "saw-tooth")

# The least weight of a place: the frame may be held by this window alone.
_LEAST = 0.01


def fuse_weights(length: int, kind: str = "pyramid", overlap: int = 0) -> list[float]:
    """One positive weight per place in a window of ``length`` frames.

    - ``pyramid``         1, 2 ... m ... 2, 1: a frame counts most where it has neighbours on both sides.
    - ``flat``            all 1.
    - ``relative``        1 in the middle, falling evenly to nearly 0 at both ends.
    - ``overlap-linear``  1, but over the ``overlap`` frames at each end: there a window fades in as the one before it
      fades out, and both together are 1.
    - ``gauss``           a bell around the middle, with a quarter of the length as its standard deviation.
    - ``saw-tooth``       next to nothing up to the middle, then m, m - 1 ... 1 ("delayed reverse saw-tooth"): each
      frame is decided by the window in which it comes soon after the middle.

    :raises ValueError: an unknown kind or a length below 1.
    """
    if length < 1:
        raise ValueError(f"a window of {length} frames has no weights")
    places, middle = range(length), (length - 1) / 2
    if kind == "flat":
        return [1.0] * length
    if kind == "pyramid":
        return [float(min(place + 1, length - place)) for place in places]
    if kind == "relative":
        return [max(_LEAST, 1 - abs(place - middle) / max(middle, 0.5)) for place in places]
    if kind == "overlap-linear":
        return [min(1.0, *((n + 1) / (overlap + 1) for n in (place, length - 1 - place))) for place in places]
    if kind == "gauss":
        return [math.exp(-0.5 * ((place - middle) / (length / 4)) ** 2) for place in places]
    if kind == "saw-tooth":
        highest = (length + 1) // 2
        falling = range(highest if length % 2 == 0 else highest - 1, 0, -1)
        return [_LEAST] * (length - 1 - len(falling)) + [float(highest), *map(float, falling)]
    raise ValueError(f"unknown fuse weights {kind!r}; known are {', '.join(FUSE_KINDS)}")


class WeightedMean:
    """The mean ``sum(w * x) / sum(w)`` of every frame over the windows that hold it, one window at a time.

    Kept as a running mean, ``m += w / sum(w) * (x - m)`` (West 1979, Communications of the ACM 22:532), so that a frame
    held by one window comes back bit for bit, and one on which all windows agree stays exactly as it is. Half
    precision is averaged in float32.
    """

    def __init__(self, like: torch.Tensor):
        """``like``: any tensor of the shape, dtype and device of the result, frames first; its values are not read."""
        self._dtype = like.dtype
        self._mean = torch.zeros_like(like, dtype=torch.promote_types(like.dtype, torch.float32))
        self._weights = [0.0] * like.shape[0]

    def add(self, indices: Sequence[int], values: torch.Tensor, weights: Sequence[float]) -> None:
        """Adds one window: ``values[i]`` is its result for frame ``indices[i]``, counted ``weights[i] > 0`` times.

        :raises ValueError: the three differ in length, a frame occurs twice, or a weight is not positive.
        """
        if not len(indices) == len(values) == len(weights):
            raise ValueError(f"{len(indices)} frames, {len(values)} values and {len(weights)} weights do not match")
        if len(set(indices)) != len(indices):
            raise ValueError(f"a window holds a frame twice: {list(indices)}")
        if min(weights) <= 0:
            raise ValueError(f"weights must be positive, not {min(weights)}")

        first = [self._weights[frame] == 0 for frame in indices]
        for frame, weight in zip(indices, weights, strict=True):
            self._weights[frame] += weight
        rates = [weight / self._weights[frame] for frame, weight in zip(indices, weights, strict=True)]

        mean = self._mean
        frames = torch.tensor(indices, device=mean.device)
        values = values.to(mean)
        if not all(first):
            per_frame = (-1, *[1] * (mean.ndim - 1))
            rate = torch.tensor(rates, dtype=mean.dtype, device=mean.device).view(per_frame)
            known = mean[frames]
            # a select, not the rate of one: 0 + 1 * (x - 0) would turn -0.0 into 0.0
            is_first = torch.tensor(first, device=mean.device).view(per_frame)
            values = torch.where(is_first, values, known + rate * (values - known))
        mean.index_copy_(0, frames, values)

    def result(self) -> torch.Tensor:
        """The mean, in the dtype of ``like``.

        :raises ValueError: a frame was in no window.
        """
        missing = [frame for frame, weight in enumerate(self._weights) if weight == 0]
        if missing:
            raise ValueError(f"frames in no context window: {missing}")
        return self._mean.to(self._dtype)
