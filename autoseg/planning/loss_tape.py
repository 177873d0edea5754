"""What the losses do to memory in a training step: bytes taken and let go, forward and backward.

Losses compute in float32 whatever the logits are. A log-softmax keeps its result, the soft Dice the probabilities and
masks of each class.
"""

from autoseg.data.labels import LabelScheme
from autoseg.planning.tape import FULL, Layer, Move, Network

ONLY_ENTROPY = ("ce", "bce", "topk_ce", "focal")
ONLY_OVERLAPS = ("dice", "weighted_dice", "tversky")

TARGET = 8
"""Bytes of a voxel of the target, an int64."""


def has_overlaps(loss: str) -> bool:
    """Whether a loss sums overlaps, as the soft Dice does; those of third parties are taken to."""
    return loss not in ONLY_ENTROPY


def loss_layers(net: Network, *, labels: LabelScheme, weights: tuple[float, ...], loss: str) -> list[Layer]:
    """The loss of each level that has a weight, finest first, and what is let go afterwards.

    `weights` are those of the network's outputs. Own losses are taken for Dice plus cross entropy.
    """
    of_level = _regions if labels.target == "regions" else _classes
    layers = [of_level(net, level, labels=labels, loss=loss) for level, weight in enumerate(weights) if weight]
    logits = [net.level_voxels[level] * net.out_channels * net.number_bytes for level in range(len(weights))]
    # The step holds on to the finest logits.
    return [*layers, Layer((("loss", -sum(logits[1:])),))]


def _to_float(net: Network, numbers: int) -> int:
    """Bytes of the float32 copy of so many logits; none where they are float32 already."""
    return numbers * FULL if net.number_bytes < FULL else 0


def _classes(net: Network, level: int, *, labels: LabelScheme, loss: str) -> Layer:
    voxels, outputs = net.level_voxels[level], net.out_channels
    scores, one = outputs * voxels * FULL, voxels * FULL
    has_dice, has_ignore = has_overlaps(loss), labels.ignore_class is not None
    classes = outputs - 1 if has_dice else 0
    cast = _to_float(net, outputs * voxels)
    target = voxels * TARGET if level else 0
    mask = voxels * (1 + has_ignore)
    forward: list[Move] = [("loss", cast), ("loss", scores), ("loss", -cast), ("loss", target + voxels * has_ignore)]
    forward += [("loss", classes * (one + mask)), ("in flight", one * has_dice), ("in flight", -one * has_dice)]
    backward = _pooled(classes, one=one, mask=mask)
    for index in range(classes):
        # Each class's share of the gradient comes as a whole volume of scores, and is added to the others'.
        backward += [("in flight", one), ("in flight", -one), ("loss", -one), ("in flight", scores), ("in flight", -one)]
        backward += _added(scores) if index else []
    backward += [("in flight", scores), *(_added(scores) if classes else [])]
    backward += [("loss", -target - voxels * has_ignore), ("in flight", scores), ("in flight", -scores), ("loss", -scores)]
    return Layer(tuple(forward), (*backward, *_back_to_logits(net, cast, outputs * voxels)))


def _regions(net: Network, level: int, *, labels: LabelScheme, loss: str) -> Layer:
    voxels, outputs = net.level_voxels[level], net.out_channels
    scores, one = outputs * voxels * FULL, voxels * FULL
    has_ignore = labels.ignore_class is not None
    cast = _to_float(net, outputs * voxels)
    has_dice, has_entropy = has_overlaps(loss), loss not in ONLY_OVERLAPS
    mask = voxels * (1 + has_ignore)
    forward: list[Move] = [("loss", cast), ("loss", outputs * voxels)]
    if has_entropy:
        forward += [("loss", scores + (scores + voxels) * has_ignore), ("in flight", scores), ("in flight", -scores)]
    if has_dice:
        forward += [("loss", scores), ("in flight", one), ("in flight", -one)]
    backward = _pooled(outputs if has_dice else 0, one=one, mask=mask if has_dice else 0)
    if has_dice:
        backward += [("in flight", scores), ("in flight", -outputs * one)]
        backward += [("in flight", scores), ("in flight", -scores), ("loss", -scores)]
    if has_entropy:
        backward += [("in flight", 2 * scores), ("in flight", -scores), *(_added(scores) if has_dice else [])]
        backward += [("loss", -scores - (scores + voxels) * has_ignore)]
    backward += [("loss", -cast), *([] if has_dice else [("loss", -outputs * voxels)])]  # type: ignore[list-item]
    return Layer(tuple(forward), (*backward, *_back_to_logits(net, cast, outputs * voxels)))


def _pooled(classes: int, *, one: int, mask: int) -> list[Move]:
    """Back through the sums of the soft Dice: the gradient of each class's probabilities, added from two sums."""
    moves: list[Move] = []
    for _ in range(classes):
        moves += [("in flight", 2 * one), ("in flight", -one), ("loss", -mask)]
    return moves


def _added(size: int) -> list[Move]:
    """Two gradients in flight become their sum."""
    return [("in flight", size), ("in flight", -2 * size)]


def _back_to_logits(net: Network, cast: int, numbers: int) -> list[Move]:
    return [("in flight", numbers * net.number_bytes), ("in flight", -cast)] if cast else []
