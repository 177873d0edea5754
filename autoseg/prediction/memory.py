"""What predicting a case takes in memory, and how it is done within what there is."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from math import prod
from pathlib import Path

import torch

from autoseg.data.image import Shape
from autoseg.planning.memory import GIB, Numbers, prediction_memory
from autoseg.planning.plan import Configuration, Plan
from autoseg.prediction.refining import Orders, axis_step
from autoseg.prediction.sums import SLAB_BYTES, Box
from autoseg.prediction.windows import window_starts
from autoseg.resources import MEMORY_SHARE, free_memory

FLOAT = 4
SIDE_BY_SIDE_BYTES = 2**30
"""Passes run side by side while what they make on their way takes no more than this."""
SLABS_IN_HAND = 8
"""Slabs of scores, copies on their way, and what the allocator holds back of those before."""
ROOMY = 2
"""Memory that is kept for the next pass falls into pieces that do not fit it; it stays below so many times the peak."""
SLICES_IN_HAND = 4
"""A slab is a slice at least: that of the scores, what each axis makes of it, and a copy."""
LABEL_MAPS = 5
"""Bytes of a voxel of the result: classes, the same on the file's grid, as they are stored, and the last case's twice."""
MOST_PARTS = 8
"""A slice is parted into at most so many parts along each axis; smaller ones would hardly save memory."""


@dataclass(frozen=True)
class Job:
    """One configuration's share of a case: its grid, its windows and how its scores are refined."""

    configuration: Configuration
    plan: Plan
    networks: int
    shape: Shape
    orders: Orders
    patch_size: tuple[int, ...]
    step: float
    batch_size: int
    workers: int = 1
    voices: int = 0

    @property
    def channels(self) -> int:
        """Channels that are summed: those of the output, and as many for each voice that is kept apart."""
        return self.plan.labels.output_channels * (1 + self.voices)


@dataclass(frozen=True)
class Way:
    """How a case is predicted: on which device scores are summed, and which parts of all slices are done one by one.

    No parts: all of a slice at once. `expected_bytes` is the peak on that device, beside what was there before; `is_roomy`
    says that there is so much more that what is freed need not be given back.
    """

    device: torch.device
    boxes: tuple[Box, ...]
    expected_bytes: int
    is_roomy: bool = False

    def __str__(self) -> str:
        parts = f" in {len(self.boxes)} parts" if len(self.boxes) > 1 else ""
        return f"slab-wise on {self.device}{parts}"


def choose_way(
    jobs: Sequence[Job], *, shape: Shape, device: torch.device, precision: Numbers, memory_gb: float, reserve: int = 0
) -> Way:
    """How to predict a case of the cropped `shape` (z, y, x) so that its scores fit into the memory there is.

    All scores (classes x voxels x 4 bytes) never exist: only the slices that windows still reach are summed. Where even
    those are too many, every slice is parted, so that parts are summed one after the other; windows on the border of two
    are then computed twice, and the parting with the fewest windows is taken. Sums lie on the device where they fit, else
    on the CPU. `reserve` bytes are left for the case that is read meanwhile. The result is the same whichever way.
    """
    smallest: Way | None = None
    for where in [device] if device.type == "cpu" else [device, torch.device("cpu")]:
        room = _room(where, memory_gb=memory_gb, reserve=reserve)
        fixed = _fixed(jobs, precision, device, where) + LABEL_MAPS * prod(shape)
        for boxes in _partings(jobs, shape):
            whole = boxes or (_everything(shape),)
            expected = fixed + max(sum(_summed(job, shape, box) for job in jobs) for box in whole)
            found = Way(where, boxes, expected, is_roomy=ROOMY * expected <= room)
            if expected <= room:
                return found
            if smallest is None or expected < smallest.expected_bytes:
                smallest = found
    assert smallest is not None, "there is always the way of no parts"
    return smallest


def resident_bytes() -> int:
    """Memory that this process holds; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def ring_bytes(job: Job, shape: Shape, box: Box) -> int:
    """Bytes of the sums of `box` (of the cropped `shape`) on the job's own grid."""
    rows, columns = _sources(job, shape, box)
    depth = job.patch_size[0] if len(job.patch_size) == 3 else job.batch_size * job.workers
    return FLOAT * job.channels * depth * _length(rows) * _length(columns)


def _summed(job: Job, shape: Shape, box: Box) -> int:
    """Bytes of a job's sums and of the slices that are on their way from them to `box` of the cropped grid."""
    source, wanted = (prod(map(_length, sides)) for sides in (_sources(job, shape, box), box))
    return ring_bytes(job, shape, box) + SLICES_IN_HAND * FLOAT * job.channels * max(source, wanted)


def _room(where: torch.device, *, memory_gb: float, reserve: int) -> float:
    """Bytes that may still be taken at `where`."""
    if where.type == "cuda":
        return MEMORY_SHARE * float(torch.cuda.mem_get_info(where)[0])
    return min(MEMORY_SHARE * free_memory(), memory_gb * GIB - resident_bytes()) - reserve


def _fixed(jobs: Sequence[Job], precision: Numbers, device: torch.device, where: torch.device) -> int:
    """Bytes at `where` beside the sums: what networks need while they run, and slabs on their way to the result."""
    result = SLABS_IN_HAND * SLAB_BYTES
    if where != device:  # each window's logits come over
        return result + max(_logits_bytes(job) for job in jobs)
    needs = [(job, *_network_bytes(job, precision, device)) for job in jobs]
    # While a result is added up, all workers make others.
    return result + max(once + job.workers * each + (job.workers > 1) * _logits_bytes(job) for job, once, each in needs)


def passes_at_a_time(job: Job, precision: Numbers, *, threads: int) -> int:
    """How many passes a processor with so many `threads` makes side by side: one each, unless their features are large."""
    _, each = _network_bytes(job, precision, torch.device("cpu"))
    return threads if threads * each <= SIDE_BY_SIDE_BYTES else 1


def _network_bytes(job: Job, precision: Numbers, device: torch.device) -> tuple[int, int]:
    """Bytes of the image and of copies of the weights, and of what a pass makes on its way."""
    sized = job.configuration.model_copy(update={"patch_size": job.patch_size})
    use = prediction_memory(
        sized,
        channels=job.plan.input_channels(job.configuration),
        labels=job.plan.labels,
        shape=job.shape,
        networks=job.networks,
        windows=job.batch_size,
        precision=precision,
        device="cuda" if device.type == "cuda" else "cpu",
    )
    if use is None:  # a network of someone else's: nothing is known of what lies inside it
        return 0, 4 * _logits_bytes(job)
    image = use.batches if device.type == "cuda" else 0  # on a processor it is there already
    return image + use.weight_copies, use.activations + use.in_flight + use.workspace + _logits_bytes(job)


def _logits_bytes(job: Job) -> int:
    return FLOAT * job.batch_size * job.channels * prod(job.patch_size)


def _partings(jobs: Sequence[Job], shape: Shape) -> Iterator[tuple[Box, ...]]:
    """The ways to part slices, none at first, then those with few windows before those with many."""
    yield ()
    parts = [
        tuple(product(parted(shape[1], rows), parted(shape[2], columns)))
        for rows, columns in product(range(1, MOST_PARTS + 1), repeat=2)
        if rows * columns > 1 and rows <= shape[1] and columns <= shape[2]
    ]
    yield from sorted(
        parts, key=lambda boxes: sum(_windows(job, shape, box) * job.networks for job in jobs for box in boxes)
    )


def _everything(shape: Shape) -> Box:
    return slice(0, shape[1]), slice(0, shape[2])


def parted(size: int, count: int) -> list[slice]:
    """An axis of `size` in `count` parts, equal but for one voxel."""
    edges = [round(size * index / count) for index in range(count + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def _length(span: slice) -> int:
    return int(span.stop - span.start)


def _sources(job: Job, shape: Shape, box: Box) -> tuple[slice, slice]:
    """The part of the job's own grid that is needed for `box` of the cropped one."""
    y, x = (
        axis_step(job.shape[axis], shape[axis], job.orders[axis], side).source
        for axis, side in zip((1, 2), box, strict=True)
    )
    return y, x


def _windows(job: Job, shape: Shape, box: Box) -> int:
    """How many windows reach a box, in each layer of them."""
    count = 1
    for axis, span in zip((1, 2), _sources(job, shape, box), strict=True):
        edge = job.patch_size[axis - 3]
        margin = max(0, edge - job.shape[axis]) // 2
        starts = window_starts(max(job.shape[axis], edge), edge, step=job.step)
        count *= sum(start < span.stop + margin and span.start + margin < start + edge for start in starts)
    return count
