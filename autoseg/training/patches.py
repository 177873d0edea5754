"""Batches of patches for training: a pure function of seed, epoch and iteration."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoseg.augmentation.policy import (
    NONE,
    POLICIES,
    Augmentation,
    Policy,
    apply_mask_steps,
    apply_steps,
    draw,
    lacking,
)
from autoseg.augmentation.spatial import Box, Patch, place, source_of
from autoseg.data.labels import LabelScheme
from autoseg.errors import TrainingError
from autoseg.extend import resolve
from autoseg.planning.mirroring import Exchange, exchange_of
from autoseg.planning.plan import Configuration, TrainingSettings
from autoseg.preprocessing.intensity import absent_value
from autoseg.preprocessing.store import StoredCase
from autoseg.training.previous_stage import as_masks, joined, parted
from autoseg.training.under_way import doing

TRAINING_STREAM, VALIDATION_STREAM = 0, 1


@dataclass(frozen=True, eq=False)
class Batch:
    """Patches: image (sample, channel, *patch) float32, target (sample, *patch) classes as int64, ignored ones included.

    `case_ids` name the cases of the whole batch, also where other processes hold some of its samples.
    """

    image: Tensor
    target: Tensor
    case_ids: tuple[str, ...]


class BatchSource(Protocol):
    """Where batches come from; the same epoch and iteration give the same batch."""

    def batch(self, epoch: int, iteration: int) -> Batch:
        """One batch."""
        ...


@dataclass(frozen=True)
class PatchDraw:
    """Everything that chance decided about one sample: which case, where (corner z, y, x), and how it is augmented."""

    case: int
    corner: tuple[int, int, int]
    augmentation: Augmentation


class PatchSource:
    """Draws and makes the batches of a set of cases.

    With `augment` the policy of the training settings is drawn and mask-normalised channels are set to zero outside the
    body again; without it patches are plain, and drawn from another stream of random numbers. Batches lie on `device`,
    where they are also augmented. Where the cases hold what a previous stage found, a mask per foreground label follows
    the image's channels. Of each batch only the samples of `share` are made; without one, all of them.
    """

    def __init__(
        self,
        cases: Sequence[StoredCase],
        *,
        configuration: Configuration,
        training: TrainingSettings,
        labels: LabelScheme,
        augment: bool,
        device: torch.device | str = "cpu",
        share: range | None = None,
    ) -> None:
        if not cases:
            raise TrainingError("there are no cases to draw patches from. Check the fold, or the splits file.")
        self._cases = tuple(cases)
        self._patch_size = configuration.patch_size
        self._patch = _as_volume(configuration.patch_size)
        self._batch_size = configuration.batch_size
        self._share = range(configuration.batch_size) if share is None else share
        self._settings = training
        self._policy: Policy = resolve("augmentation policy", training.augmentation, POLICIES) if augment else NONE
        self._masked = [index for index, scheme in enumerate(configuration.normalisation) if scheme.use_mask]
        self._augment = augment
        self._absent = [absent_value(scheme) for scheme in configuration.normalisation]
        self._ignores = labels.ignore_class is not None
        self._labels = len(labels.foreground)
        self._previous_labels = 0 if cases[0].previous is None else self._labels
        self._exchange = exchange_of(training, labels)
        self._device = torch.device(device)

    def batch(self, epoch: int, iteration: int) -> Batch:
        """The batch of that iteration; the same whenever, in whatever order and in whichever thread it is asked for.

        Raises TrainingError naming the case when its stored arrays cannot be read.
        """
        draws = [self.draw(epoch, iteration, index=index) for index in range(self._batch_size)]
        channels = self._cases[0].image.shape[0] + self._previous_labels
        # Patches are written where the batch lies: copying them there would cost as much as reading them.
        image = torch.empty((len(self._share), channels, *self._patch), device=self._device)
        target = torch.empty((len(self._share), *self._patch), dtype=torch.int64, device=self._device)
        for index, voxels, classes in zip(self._share, image, target, strict=True):
            self.make(draws[index], image=voxels, target=classes)
        return Batch(
            image=image.view(-1, channels, *self._patch_size),
            target=target.view(-1, *self._patch_size),
            case_ids=tuple(self._cases[drawn.case].id for drawn in draws),
        )

    def draw(self, epoch: int, iteration: int, *, index: int) -> PatchDraw:
        """What chance decides about sample `index` of a batch."""
        stream = TRAINING_STREAM if self._augment else VALIDATION_STREAM
        rng = np.random.default_rng([self._settings.seed, stream, epoch, iteration, index])
        number = int(rng.integers(len(self._cases)))
        case = self._cases[number]
        centre = self._draw_centre(case, rng, forced=self._is_forced(index, rng))
        corner = _draw_corner(case.classes.shape, self._patch, rng, centre=centre)
        augmentation = draw(
            self._policy,
            rng,
            patch=self._patch,
            channels=case.image.shape[0],
            mirror_axes=self._settings.mirror_axes,
            previous_labels=self._previous_labels,
        )
        if self._augment and self._settings.drop_channel:
            augmentation = lacking(augmentation, rng, probability=self._settings.drop_channel, values=self._absent)
        return PatchDraw(case=number, corner=corner, augmentation=augmentation)

    def make(self, drawn: PatchDraw, *, image: Tensor, target: Tensor) -> None:
        """Write the patch that was drawn: image (channel, z, y, x) float32 and target (z, y, x) int64."""
        case, placing = self._cases[drawn.case], drawn.augmentation.placing
        source = source_of(placing, corner=drawn.corner, patch=self._patch, shape=case.classes.shape)
        with doing(f"case {case.id}: reading a patch"):
            parts = read_box(case, source.box, labels=self._labels)
        with doing(f"case {case.id}: augmenting a patch"):
            self._fill(drawn, parts, centre=source.centre, image=image, target=target)

    def _fill(
        self,
        drawn: PatchDraw,
        parts: Sequence[NDArray[Any]],
        *,
        centre: Sequence[float],
        image: Tensor,
        target: Tensor,
    ) -> None:
        """Augment what was read of a case (image, classes) and write it."""
        case, placing = self._cases[drawn.case], drawn.augmentation.placing
        voxels, classes = (torch.from_numpy(part).to(self._device) for part in parts)
        own, masks = image[: len(voxels)], image[len(voxels) :]
        patch = Patch(own, classes.new_empty(self._patch))
        place(voxels, classes, placing, centre=centre, into=patch)
        del voxels, classes
        apply_steps(own, drawn.augmentation)
        exchange = self._exchange if self._exchange and self._exchange.axis in placing.mirrored else None
        if case.previous is not None:
            classes, previous = parted(patch.classes, labels=self._labels)
            patch = Patch(own, classes)
            masks.copy_(as_masks(exchanged(previous, exchange), labels=self._labels))
            apply_mask_steps(masks, drawn.augmentation)
        if self._augment and self._masked:
            _empty_outside(patch, self._masked)
        target.copy_(exchanged(patch.classes, exchange).clamp_min_(0))

    def _is_forced(self, index: int, rng: np.random.Generator) -> bool:
        """Whether a sample must show foreground: the last ones of a batch, or now and then that of a batch of one."""
        share = self._settings.foreground_share
        if self._batch_size == 1:
            return bool(rng.random() < share)
        return index >= round(self._batch_size * (1 - share))

    def _draw_centre(self, case: StoredCase, rng: np.random.Generator, *, forced: bool) -> NDArray[np.int32] | None:
        """A voxel to centre on: of a class that is drawn first, or any annotated one where some are ignored."""
        voxels: NDArray[np.int32] | None = None
        if forced and case.locations:
            present = sorted(case.locations)
            voxels = case.locations[present[int(rng.integers(len(present)))]]
        elif self._ignores:
            voxels = case.annotated
        return None if voxels is None or len(voxels) == 0 else voxels[int(rng.integers(len(voxels)))]


def exchanged(classes: Tensor, exchange: Exchange | None) -> Tensor:
    """The map of classes with left and right exchanged; classes outside of the labels (outside, ignored) stay."""
    if exchange is None:
        return classes
    order = torch.tensor(exchange.classes, dtype=classes.dtype, device=classes.device)
    is_label = (classes >= 0) & (classes < len(order))
    return torch.where(is_label, order[classes.clamp(0, len(order) - 1).long()], classes)


def read_box(case: StoredCase, box: Box, *, labels: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Copies of image (channel, z, y, x) and classes (z, y, x) inside `box`; only that part is read from disk.

    Classes are joined with those of a previous stage where there is one; `labels` counts the foreground labels.
    Raises TrainingError naming the case when its files cannot be read.
    """
    try:
        for array in (case.image, case.classes, case.previous):
            _refuse_shortened(array)
        whole = (slice(None), *box)
        image, classes = np.array(case.image[whole]), np.array(case.classes[box])
        return image, classes if case.previous is None else joined(classes, case.previous[box], labels=labels)
    except (OSError, ValueError, IndexError) as error:
        raise TrainingError(
            f"case {case.id}: its preprocessed arrays cannot be read ({error}). "
            "Make them anew with: autoseg_preprocess CONFIGURATION"
        ) from error


def _refuse_shortened(array: NDArray[Any] | None) -> None:
    """A memory-map of a file that has been cut off since would end the process, not raise."""
    if isinstance(array, np.memmap) and array.filename is not None:
        size = Path(array.filename).stat().st_size
        if size < array.offset + array.nbytes:
            raise OSError(f"{array.filename} has {size} bytes, expected {array.offset + array.nbytes}")


def _draw_corner(
    shape: Sequence[int], patch: Sequence[int], rng: np.random.Generator, *, centre: NDArray[np.int32] | None
) -> tuple[int, int, int]:
    """The patch's first voxel: around `centre` as far as the case allows, else anywhere inside.

    Along an axis that is shorter than the patch the case lies in its middle.
    """
    corner = []
    for axis, (available, size) in enumerate(zip(shape, patch, strict=True)):
        room = available - size
        if room <= 0:
            corner.append(-(-room // 2))
        elif centre is None:
            corner.append(int(rng.integers(room + 1)))
        else:
            corner.append(min(max(int(centre[axis]) - size // 2, 0), room))
    z, y, x = corner
    return z, y, x


def _empty_outside(patch: Patch, channels: Sequence[int]) -> None:
    outside = patch.classes < 0
    for channel in channels:
        patch.image[channel].masked_fill_(outside, 0)


def _as_volume(patch_size: tuple[int, ...]) -> tuple[int, int, int]:
    """A 2-D patch is a volume of one slice."""
    z, y, x = (1,) * (3 - len(patch_size)) + patch_size
    return z, y, x
