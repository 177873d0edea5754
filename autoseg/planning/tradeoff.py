"""Where a plan has less of something than a plan for less memory: an axis of the patch, or the batch.

Memory goes to the voxels of the patch first and what is left to the batch, so more memory never gives a patch of fewer
voxels, nor a smaller batch for the same patch. A larger patch may still be shorter along one axis, or come with a smaller
batch, as in nnU-Net; that is said rather than changed.
"""

from autoseg.planning.decisions import times
from autoseg.planning.plan import Decision
from autoseg.planning.sizing import Budget, Sizing, batch_limits, shrinking
from autoseg.planning.topology import Topology, cost

JUST_BELOW = 1 - 1e-9


def about_tradeoff(name: str, sizing: Sizing, *, budget: Budget, outputs: int) -> list[Decision]:
    """What a little less memory than the patch of a configuration needs would give more of; nothing where it would not."""
    dimensions = len(sizing.spacing_mm)
    below = Budget(budget.preset, JUST_BELOW * budget.least_gb(sizing.sample_cost, dimensions=dimensions))
    smaller = _taken(sizing, budget=below, outputs=outputs)
    if smaller is None:
        return []
    limits = batch_limits(
        smaller, cost(smaller, budget.preset, outputs=outputs), budget=below, dataset_voxels=sizing.dataset_voxels
    )
    batch = max(min(limits), budget.preset.smallest_batch)
    patch = sizing.design.patch_size
    shorter = any(mine < other for mine, other in zip(patch, smaller.patch_size, strict=True))
    if not shorter and batch <= sizing.batch_size:
        return []
    return [
        Decision(
            name=f"trade-off of {name}",
            value=f"the patch of more voxels: {times(patch)} with a batch of {sizing.batch_size}",
            because=(
                f"memory goes to the voxels of the patch first, then to the batch; under {below.gpu_memory_gb:.3g} GB the "
                f"rule takes {times(smaller.patch_size)} with a batch of {batch}"
            ),
            source=budget.preset.source,
        )
    ]


def _taken(sizing: Sizing, *, budget: Budget, outputs: int) -> Topology | None:
    """The first design below that of `sizing` that a smaller budget allows."""
    for design in shrinking(sizing.spacing_mm, sizing.median_shape)[sizing.shrunk + 1 :]:
        if budget.allows(cost(design, budget.preset, outputs=outputs), dimensions=len(sizing.spacing_mm)):
            return design
    return None
