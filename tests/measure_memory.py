"""Writes a table of predicted and measured memory of training steps: python tests/measure_memory.py [cpu|cuda]

On a CPU tensors are counted: those of steps at full size that hold no numbers, and those of real steps at a reduced size.
On a GPU the peak of the allocator over real steps is read. The table goes to standard output, as Markdown.
"""

import sys
from collections.abc import Iterator

import torch

from autoseg.planning.memory import GIB, Numbers, training_memory
from autoseg.planning.plan import Configuration, Plan
from autoseg.planning.planner import make_plan
from autoseg.training.device import Precision
from autoseg.training.memory_probe import Trial, counted_bytes
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
    cells = (one.name, " x ".join(map(str, one.patch_size)), one.batch_size, precision, how)
    error = f"{predicted / found - 1:+.1%}"
    return f"| {' | '.join([name, *map(str, cells), f'{predicted / GIB:.2f}', f'{found / GIB:.2f}', error])} |"


def write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(device: str) -> None:
    write("| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD))
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
    main(sys.argv[1] if len(sys.argv) > 1 else "cuda" if torch.cuda.is_available() else "cpu")
