"""The families of motion models: what sets one apart from another when it is run.

Sources: the configurations of guoyww/AnimateDiff (``configs/inference``) and of the authors named per row. Finetunes
share the row of their parent: TemporalDiff is v1, AnimateDiff-Lightning is v2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class BetaSchedule:
    """Noise schedule in diffusers' words: "linear" in beta, or "scaled_linear", that is linear in its square root."""

    kind: Literal["linear", "scaled_linear"]
    start: float
    end: float


# Every SD1.5 motion model was trained on this one, not on the schedule of the checkpoint it animates.
LINEAR = BetaSchedule("linear", 0.00085, 0.012)


@dataclass(frozen=True)
class Family:
    """One row of the table.

    norm_across_frames: the GroupNorms of the UNet's ResBlocks and of its output see all frames of a window at once
        (official ``use_inflated_groupnorm: false``); those of the motion modules never do.
    positions: length of the position table in the family's files; None where the files hold none.
    computed_positions: length to compute where the file holds none.
    served: whether this extension runs the family; if not, its files are refused by name.
    """

    name: str
    label: str
    base: Literal["SD1.5", "SDXL"] = "SD1.5"
    norm_across_frames: bool = False
    has_mid_block: bool = False
    positions: int | None = 32
    computed_positions: int | None = None
    beta_schedule: BetaSchedule = LINEAR
    served: bool = True


_TABLE = (
    Family("v1", "AnimateDiff v1", norm_across_frames=True, positions=24),
    Family("v2", "AnimateDiff v2", has_mid_block=True),
    Family("v3", "AnimateDiff v3"),
    Family("long-32", "LongAnimateDiff 32 frames", has_mid_block=True, positions=64),
    Family("long-64", "LongAnimateDiff 64 frames", has_mid_block=True, positions=128),
    Family("lcm", "AnimateLCM", has_mid_block=True, positions=None, computed_positions=64),
    Family(
        "lcm-i2v",
        "AnimateLCM-I2V",
        has_mid_block=True,
        positions=None,
        computed_positions=64,
        beta_schedule=BetaSchedule("linear", 0.00085, 0.014),
        served=False,
    ),
    Family("pia", "PIA", norm_across_frames=True, served=False),
    Family("fancyvideo", "FancyVideo", served=False),
    Family("cameractrl", "CameraCtrl", served=False),
    Family(
        "sdxl-beta",
        "AnimateDiff SDXL-beta",
        base="SDXL",
        beta_schedule=BetaSchedule("scaled_linear", 0.00085, 0.020),
        served=False,
    ),
    Family(
        "hotshot-xl",
        "HotShot-XL",
        base="SDXL",
        norm_across_frames=True,
        positions=24,
        beta_schedule=BetaSchedule("scaled_linear", 0.00085, 0.012),
        served=False,
    ),
)

FAMILIES: dict[str, Family] = {family.name: family for family in _TABLE}


def family_of_layout(levels: int, has_mid_block: bool, positions: int | None) -> Family | None:
    """The family of a file that holds nothing but motion modules; None when its layout leaves that open.

    levels: 4 for SD1.5, 3 for SDXL. positions: length of the stored position table, None without one. A length that
    no published family has is taken for a finetune: of v2 with a middle block, else of v1 up to 24 and of v3 above.
    """
    if levels == 3:
        if has_mid_block or positions is None:
            return None
        return FAMILIES["hotshot-xl" if positions <= 24 else "sdxl-beta"]
    if levels != 4:
        return None
    if has_mid_block:
        return FAMILIES[{None: "lcm", 64: "long-32", 128: "long-64"}.get(positions, "v2")]
    if positions is None:
        return None
    return FAMILIES["v1" if positions <= 24 else "v3"]
