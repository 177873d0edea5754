"""A training small enough for tests: bright discs on noise, a two-stage network."""

import dataclasses

import torch

from autoseg.data.labels import Label, LabelScheme
from autoseg.losses import build_loss
from autoseg.networks.unet import build_network
from autoseg.planning.plan import NetworkSpec, TrainingSettings
from autoseg.training.budget import StepPace
from autoseg.training.device import Precision
from autoseg.training.observers import UNWATCHED
from autoseg.training.patches import Batch
from autoseg.training.setup import Setup, Surroundings
from autoseg.training.state import new_state

LABELS = LabelScheme(labels=(Label(name="background", value=0), Label(name="disc", value=1), Label(name="core", value=2)))
CPU = torch.device("cpu")
FP32 = Precision("fp32")
NETWORK = NetworkSpec(
    kind="plain_unet",
    features=(8, 16, 16),
    kernels=((3, 3), (3, 3), (3, 3)),
    strides=((1, 1), (2, 2), (2, 2)),
    encoder_blocks=(2, 2, 2),
    decoder_blocks=(2, 2),
)


@dataclasses.dataclass(frozen=True)
class Discs:
    """Batches of 16 x 16 pictures with a disc and its core at a random place; every batch its own seed."""

    stream: int = 0
    size: int = 2

    def batch(self, epoch, iteration):
        generator = torch.Generator().manual_seed(1_000_000 * self.stream + 1000 * epoch + iteration)
        centre = torch.rand(self.size, 2, 1, 1, generator=generator) * 6 + 5
        rows, columns = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
        distance = ((rows - centre[:, 0]) ** 2 + (columns - centre[:, 1]) ** 2).sqrt()
        target = (distance < 4.5).long() + (distance < 2.5).long()
        image = target[:, None] + 0.3 * torch.randn(self.size, 1, 16, 16, generator=generator)
        return Batch(image=image, target=target, case_ids=tuple(f"disc{iteration}" for _ in range(self.size)))


def settings(**changes):
    values = {"epochs": 3, "iterations_per_epoch": 4, "validation_iterations": 2, "precision": "fp32", "seed": 7}
    return TrainingSettings(**(values | changes))


def state(chosen, *, network=NETWORK):
    built = build_network(
        network, dimensions=2, in_channels=1, out_channels=3, deep_supervision=chosen.deep_supervision, seed=chosen.seed
    )
    return new_state(built, settings=chosen, device=CPU, precision=FP32)


def setup(chosen, **changes):
    values = {
        "settings": chosen,
        "labels": LABELS,
        "loss": build_loss(
            "dice_ce",
            labels=LABELS,
            batch_dice=True,
            deep_supervision_levels=2 if chosen.deep_supervision else 1,
        ),
        "device": CPU,
        "precision": FP32,
        "pace": StepPace(
            epochs=chosen.epochs, iterations=chosen.iterations_per_epoch, validation=chosen.validation_iterations
        ),
        "training": Discs(0),
        "validation": Discs(1),
        "epochs": chosen.epochs,
        "iterations": chosen.iterations_per_epoch,
    }
    return Setup(**(values | changes))


def around(**changes):
    values = {
        "save": lambda state: None,
        "save_best": lambda state: None,
        "interrupted": lambda: False,
        "observer": UNWATCHED,
    }
    return Surroundings(**(values | changes))


def weights(found):
    return {name: tensor.clone() for name, tensor in found.weights.items()}
