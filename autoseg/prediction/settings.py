"""How thoroughly and how fast to predict."""

from dataclasses import dataclass
from typing import Literal, get_args

from autoseg.errors import PredictionError, unknown_name

Mirroring = Literal["all", "two", "none"]

Arithmetic = Literal["auto", "fp32", "bf16", "fp16", "int8"]
"""Numbers that networks compute a prediction in; "auto" takes what is fast on the device and as good as float32."""


@dataclass(frozen=True)
class Quality:
    """What a name such as "fast" stands for; see Settings. `folds` is the most folds of a configuration (None: all)."""

    step: float
    mirroring: Mirroring
    single_window: bool
    folds: int | None


QUALITIES: dict[str, Quality] = {
    "fast": Quality(step=0.8, mirroring="none", single_window=True, folds=1),
    "balanced": Quality(step=0.6, mirroring="two", single_window=True, folds=None),
    "best": Quality(step=0.5, mirroring="all", single_window=False, folds=None),
}
"""From the fastest to the most thorough. What each costs in Dice is measured by `autoseg_benchmark prediction`."""


@dataclass(frozen=True)
class Settings:
    """How thoroughly and how fast to predict.

    Windows overlap by 1 - `step` of their size at least. `mirroring` averages over "all" mirrorings trained with, over
    "two" views (as it is, and mirrored along every such axis at once), or over "none". With `single_window` an image that
    is not much larger than the patch is seen by one large window. `precision` "auto" takes bf16 or fp16 where the device
    is fast at it. `memory_gb` is what the process may take while it predicts, in GiB.
    """

    step: float = 0.5
    mirroring: Mirroring = "all"
    single_window: bool = False
    precision: Arithmetic = "auto"
    device: str = "auto"
    memory_gb: float = 8.0

    def __post_init__(self) -> None:
        if self.precision not in get_args(Arithmetic):
            raise unknown_name("precision", self.precision, get_args(Arithmetic))
        if not 0 < self.step <= 1:
            raise PredictionError(f"step {self.step:g}: expected a share of the patch, above 0 and at most 1.")
        if self.memory_gb <= 0:
            raise PredictionError(f"--memory {self.memory_gb:g}: expected GiB, more than 0.")


def chosen_settings(
    quality: str,
    *,
    step: float | None = None,
    mirroring: bool | None = None,
    precision: Arithmetic = "auto",
    device: str = "auto",
    memory_gb: float | None = None,
) -> Settings:
    """The settings of a quality; what is given besides takes the place of the quality's own.

    Raises UnknownNameError for another quality.
    """
    if quality not in QUALITIES:
        raise unknown_name("quality", quality, QUALITIES)
    chosen = QUALITIES[quality]
    mirrored: Mirroring = chosen.mirroring if mirroring is None else "all" if mirroring else "none"
    return Settings(
        step=chosen.step if step is None else step,
        mirroring=mirrored,
        single_window=chosen.single_window,
        precision=precision,
        device=device,
        memory_gb=Settings.memory_gb if memory_gb is None else memory_gb,
    )
