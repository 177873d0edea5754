"""One of several processes that train the discs together: `python -m tests.training.together FOLDER`, or alone without."""

import dataclasses
import sys
from pathlib import Path

import torch

from autoseg.losses import build_loss
from autoseg.networks.unet import build_network
from autoseg.planning.plan import TrainingSettings
from autoseg.training.distributed import ALONE, joined
from autoseg.training.loop import fit
from autoseg.training.patches import Batch
from autoseg.training.state import new_state
from autoseg.training.whole_batch import WholeBatch, pool_norms
from tests.training.tiny import CPU, FP32, LABELS, NETWORK, Discs, around, settings, setup

SAMPLES = 5
SCARCE = "scarce"
"""A variant in which the device of the second process takes one sample at a time and no more."""
VARIANTS = {
    "plain": ({}, NETWORK, "dice_ce", False),
    "batch_dice": ({}, NETWORK, "dice_ce", True),
    "weighted": ({"class_weights": (1.0, 2.0, 5.0)}, NETWORK, "tversky_ce", True),
    "batch_norm": ({}, NETWORK.model_copy(update={"norm": "batch"}), "dice_ce", True),
    "top_k": ({"top_k_share": 0.3, "class_weights": (1.0, 2.0, 5.0)}, NETWORK, "dice_topk_ce", True),
    SCARCE: ({}, NETWORK, "dice_ce", True),
    # No Adam: it makes steps of full size out of the rounding of gradients that are zero, those of biases before a norm.
    "averaged": ({"weight_average": 0.9}, NETWORK, "ce", False),
}
# With these a step subtracts the very gradient.
BARE = {"learning_rate": 1.0, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0, "gradient_clip": 1e9}


@dataclasses.dataclass(frozen=True)
class Shared:
    """A share of the batches of discs, as PatchSource gives it."""

    share: range
    stream: int = 0

    def batch(self, epoch, iteration):
        whole = Discs(self.stream, size=SAMPLES).batch(epoch, iteration)
        kept = list(self.share)
        return Batch(image=whole.image[kept], target=whole.target[kept], case_ids=whole.case_ids)


def _refuse_two(_network, inputs):
    if len(inputs[0]) > 1:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


def trained(variant, ranks=ALONE, **changes):
    """The state after training a variant with `changes` of its settings."""
    own, network, loss, batch_dice = VARIANTS[variant]
    chosen = settings(**own) if not changes else TrainingSettings(**(settings(**own).model_dump() | changes))
    built = build_network(network, dimensions=2, in_channels=1, out_channels=3, deep_supervision=True, seed=chosen.seed)
    if variant == SCARCE and ranks.rank == 1:
        built.register_forward_pre_hook(_refuse_two)
    state = new_state(built, settings=chosen, device=CPU, precision=FP32)
    ranks.make_alike(built)
    pool_norms(built, ranks)
    whole = build_loss(loss, labels=LABELS, batch_dice=batch_dice, deep_supervision_levels=2, settings=chosen)
    share = ranks.share(SAMPLES)
    found = setup(
        chosen,
        loss=WholeBatch(whole, ranks, SAMPLES),
        training=Shared(share),
        validation=Shared(share, stream=1),
        ranks=ranks,
    )
    fit(state, found, around(clock=ranks.clock()))
    return state


def results(ranks=ALONE):
    """Of each variant the weights before and after one bare step, after a training, and what was written down."""
    found = {}
    for variant in VARIANTS:
        bare = {**BARE, "epochs": 1, "iterations_per_epoch": 1, "weight_average": 0.0, "optimiser": "sgd"}
        one, all_ = trained(variant, ranks, **bare), trained(variant, ranks)
        found[variant] = {
            "one_step": dict(one.network.state_dict()),
            "weights": dict(all_.weights),
            "micro_batch": [row.micro_batch for row in all_.history],
            "history": [(row.train_loss, row.validation_loss, row.pseudo_dice) for row in all_.history],
        }
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    with joined() as ranks:
        torch.save(results(ranks), Path(sys.argv[1]) / f"rank{ranks.rank}.pt")
