"""Writes a table of predicted and measured memory: python -m tests.measure_memory [cpu|cuda] [training|prediction]

On a CPU tensors are counted: those of training steps at full size that hold no numbers, and those of real steps and real
predictions at a reduced size. On a GPU the peak of the allocator is read. The table goes to standard output, as Markdown.
"""

import sys
from collections.abc import Iterator

import torch

from autoseg.networks.unet import build_network
from autoseg.planning.memory import GIB, Numbers, prediction_memory, training_memory
from autoseg.planning.plan import Configuration, Plan
from autoseg.planning.planner import make_plan
from autoseg.prediction.sliding_window import Sweep, finished_slabs
from autoseg.training.device import Precision
from autoseg.training.memory_probe import TensorCount, Trial, counted_bytes
from tests.planning.facts import brain, pictures, prostate, scheme

HEAD = ("data", "preset", "configuration", "patch", "batch", "precision", "how", "predicted GB", "measured GB", "error")


def plans() -> Iterator[tuple[str, Plan, Configuration]]:
    organs = tuple(f"organ {index}" for index in range(13))
    data = {
        "brain, 1 mm": brain(shapes=((138, 169, 138),) * 20),
        "abdomen, 13 organs": brain(
            labels=scheme(*organs), spacings_mm=((3, 0.76, 0.76),) * 20, shapes=((148, 512, 512),) * 20
        ),
        "prostate, thick slices": prostate(),
        "hippocampus": brain(spacings_mm=((1.0, 1.0, 1.0),) * 200, shapes=((36, 50, 35),) * 200, training_cases=200),
        "pictures": pictures(training_cases=40),
    }
    for name, facts in data.items():
        for preset in ("nnunet", "resenc_m", "resenc_l"):
            plan = make_plan(facts, preset=preset)
            for one in plan.configurations.values():
                if not one.previous_stage and (preset != "resenc_l" or one.dimensions == 3):
                    yield f"{name} | {preset}", plan, one


def reduced(one: Configuration) -> Configuration:
    """The configuration with half of the patch along each axis whose strides allow it, and a batch of one or two."""
    divisors = (torch.tensor(one.network.strides).prod(0)).tolist()
    patch = tuple(n // 2 if n % (2 * d) == 0 else n for n, d in zip(one.patch_size, divisors, strict=True))
    patch = one.patch_size if list(patch) == divisors else patch
    return one.model_copy(update={"patch_size": patch, "batch_size": 1 + one.batch_size % 2})


def allocated(plan: Plan, one: Configuration, *, precision: Numbers) -> int:
    """The allocator's peak over the second and third step on the first GPU."""
    device = torch.device("cuda")
    torch.backends.cudnn.benchmark = True
    trial = Trial(plan, one, device=device, precision=Precision(precision))
    batch = trial.batch()
    for step in range(3):
        if step == 1:
            torch.cuda.reset_peak_memory_stats(device)
        trial.step(*batch)
    return torch.cuda.max_memory_allocated(device)


def few_windows(one: Configuration) -> tuple[Configuration, tuple[int, int, int]]:
    """The configuration with a patch of at most 96 voxels and two windows a pass (four slices in 2-D), and an image."""
    batch = 2 if one.dimensions == 3 else 4
    while (smaller := reduced(one)).patch_size != one.patch_size and max(one.patch_size) > 96:
        one = smaller
    patch = one.patch_size
    image = (batch, *patch) if one.dimensions == 2 else (patch[0] + patch[0] // 2, *patch[1:])
    return one.model_copy(update={"batch_size": batch}), image


def predicting(plan: Plan, one: Configuration, image: tuple[int, int, int], *, precision: Numbers, device: str) -> int:
    """The peak over a prediction with two views: bytes of tensors on a CPU, what the allocator handed out on a GPU."""
    place = torch.device(device)
    network = build_network(
        one.network,
        dimensions=one.dimensions,
        in_channels=plan.input_channels(one),
        out_channels=plan.labels.output_channels,
        deep_supervision=False,
    )
    sweep = Sweep(
        patch_size=one.patch_size,
        output_channels=plan.labels.output_channels,
        mirrorings=((), tuple(range(one.dimensions))),
        device=place,
        precision=Precision(precision),
        batch_size=one.batch_size,
    )
    voxels, network = torch.randn(plan.input_channels(one), *image), network.to(place).eval()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats(place)
        for slab in finished_slabs([network], voxels, sweep):
            del slab
        return torch.cuda.max_memory_allocated(place)
    count = TensorCount()
    for tensor in (*network.parameters(), voxels):
        count.add(tensor)
    with count:
        for slab in finished_slabs([network], voxels, sweep):
            del slab
    return count.peak


def prediction_row(name: str, plan: Plan, one: Configuration, *, precision: Numbers, device: str) -> str:
    few, image = few_windows(one)
    use = prediction_memory(
        few,
        channels=plan.input_channels(one),
        labels=plan.labels,
        shape=image,
        precision=precision,
        device="cuda" if device == "cuda" else "cpu",
    )
    assert use is not None
    predicted = use.tensors + use.workspace
    found = predicting(plan, few, image, precision=precision, device=device)
    cells = (few.name, " x ".join(map(str, few.patch_size)), few.batch_size, precision)
    how = "allocator" if device == "cuda" else "real windows"
    return _line(name, *cells, how, predicted, found)


def row(name: str, plan: Plan, one: Configuration, *, precision: Numbers, how: str) -> str:
    device = "cuda" if how == "allocator" else "cpu"
    use = training_memory(
        one,
        channels=len(plan.channels),
        labels=plan.labels,
        training=plan.training,
        precision=precision,
        device=device,
        batches_ahead=0,
    )
    assert use is not None
    predicted = use.tensors + (use.workspace if how == "allocator" else 0)
    if how == "allocator":
        found = allocated(plan, one, precision=precision)
    else:
        found = counted_bytes(plan, one, precision=precision, is_real=how == "real steps")
    return _line(name, one.name, " x ".join(map(str, one.patch_size)), one.batch_size, precision, how, predicted, found)


def _line(*cells: object) -> str:
    *described, predicted, found = cells
    assert isinstance(predicted, int)
    assert isinstance(found, int)
    error = f"{predicted / found - 1:+.1%}"
    return f"| {' | '.join([*map(str, described), f'{predicted / GIB:.2f}', f'{found / GIB:.2f}', error])} |"


def write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def predictions(device: str) -> None:
    for name, plan, one in plans():
        if plan.preset != "resenc_l":
            for precision in ("fp32", "bf16"):
                write(prediction_row(name, plan, one, precision=precision, device=device))


def main(device: str, part: str) -> None:
    write("| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD))
    if part == "prediction":
        predictions(device)
        return
    for name, plan, one in plans():
        for precision in ("fp32", "bf16"):
            if device == "cuda":
                write(row(name, plan, one, precision=precision, how="allocator"))
                torch.cuda.empty_cache()
                continue
            write(row(name, plan, one, precision=precision, how="tensors"))
            if plan.preset != "resenc_l" and one.dimensions == 3 and name[:5] in ("brain", "hippo"):
                write(row(name, plan, reduced(one), precision=precision, how="real steps"))


if __name__ == "__main__":
    here = "cuda" if torch.cuda.is_available() else "cpu"
    main(*(sys.argv[1:] + [here, "training"][len(sys.argv) - 1 :]))
