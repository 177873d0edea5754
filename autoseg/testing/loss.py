"""What autoseg relies on in a loss."""

import torch
from torch import Tensor

from autoseg.data.labels import Label, LabelScheme, Region, train_on_regions
from autoseg.errors import TrainingError
from autoseg.losses import LOSSES, LevelLoss, LossBuilder
from autoseg.planning.plan import TrainingSettings
from autoseg.testing.promise import named, require

_LABELS = LabelScheme(labels=tuple(Label(name=name, value=value) for value, name in enumerate(("background", "a", "b"))))
_REGIONS = train_on_regions(
    LabelScheme(labels=_LABELS.labels, regions=(Region(name="whole", values=(1, 2)), Region(name="core", values=(2,))))
)


def check_loss(loss: str | LossBuilder) -> None:
    """Try a loss on classes and regions, with and without ignored voxels.

    It must take at least one of the two targets, and may refuse the other with TrainingError.
    """
    builder: LossBuilder = named("loss", loss, LOSSES)
    taken = 0
    for scheme in (_LABELS, _REGIONS):
        for batch_dice in (False, True):
            settings, ignored = TrainingSettings(), scheme.model_copy(update={"ignore": 9})
            try:
                plain = builder(scheme, batch_dice=batch_dice, settings=settings)
                ignoring = builder(ignored, batch_dice=batch_dice, settings=settings)
            except TrainingError:
                continue
            taken += 1
            for dimensions in (2, 3):
                _check_values(plain, scheme, dimensions=dimensions)
                _check_ignoring(ignoring, scheme, dimensions=dimensions)
    require(taken, "the loss must take classes or regions as its target; it refuses both")


def _logits_for(target: Tensor, scheme: LabelScheme) -> Tensor:
    """Logits (B, channels, *grid) that are sure of the classes `target` (B, *grid)."""
    if scheme.target == "regions":
        masks = [torch.isin(target, torch.tensor(scheme.classes_of(region))) for region in scheme.regions]
    else:
        masks = [target == index for index in range(len(scheme.labels))]
    return torch.stack(masks, dim=1).float() * 20 - 10


def _target(dimensions: int) -> Tensor:
    return torch.randint(0, 3, (2, *(8,) * dimensions), generator=torch.Generator().manual_seed(1))


def _check_values(loss: LevelLoss, scheme: LabelScheme, *, dimensions: int) -> None:
    target = _target(dimensions)
    right, wrong = _logits_for(target, scheme), _logits_for((target + 1) % 3, scheme)
    logits, kept = wrong.clone().requires_grad_(), target.clone()
    value = loss(logits, target)
    require(value.shape == (), f"the loss must be one number, found a tensor of shape {tuple(value.shape)}")
    value.backward()  # type: ignore[no-untyped-call]
    require(torch.equal(target, kept), "the loss must not change its target")
    require(logits.grad is not None and torch.isfinite(logits.grad).all(), "the gradient of the logits must be finite")
    require(logits.grad is not None and logits.grad.any(), "a wrong prediction must have a gradient other than zero")
    require(loss(right, target) < value, "a right prediction must cost less than a wrong one")
    for what, classes in (("without foreground", torch.zeros_like(target)), ("all foreground", torch.full_like(target, 2))):
        require(torch.isfinite(loss(wrong, classes)), f"the loss of a target {what} must be finite")
    require(torch.isfinite(loss(wrong.bfloat16(), target)), "the loss of bf16 logits must be finite")


def _check_ignoring(loss: LevelLoss, scheme: LabelScheme, *, dimensions: int) -> None:
    target = _target(dimensions)
    right = _logits_for(target, scheme)
    ignored = torch.zeros_like(target, dtype=torch.bool)
    ignored[..., :3] = True
    target[ignored] = len(scheme.labels)
    other = torch.where(ignored[:, None], -right, right)
    require(
        torch.allclose(loss(right, target), loss(other, target), atol=1e-6),
        "voxels of the ignore class (one after the last label) must not count",
    )
    nothing = torch.full_like(target, len(scheme.labels))
    require(torch.isfinite(loss(right, nothing)), "the loss of a batch that is ignored everywhere must be finite")
