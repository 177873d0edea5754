"""What a training step takes, measured: by real steps on a device, or by counting tensors that hold no numbers.

Run as a program it makes three steps in a process of its own and prints what they took: see autoseg/training/probe.py.
"""

import json
import resource
import sys
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from autoseg.losses import build_loss
from autoseg.networks.unet import build_network, decoder_levels
from autoseg.planning.memory import BATCHES_AHEAD, Numbers
from autoseg.planning.plan import Configuration, Plan
from autoseg.training.average import WeightAverage
from autoseg.training.device import Precision, choose_device, choose_precision
from autoseg.training.optim import build_optimiser
from autoseg.training.thrift import is_out_of_memory

STEPS = 3
KIB = 1024
CPU = torch.device("cpu")


class TensorCount(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all tensors that are made while it is active, until they are gone; `peak` is the most."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._known: set[int] = set()

    def add(self, tensor: Tensor) -> None:
        """Count the memory of `tensor`, once however many tensors share it."""
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.add(leaf)
        return result


class Trial:
    """A configuration's network with optimiser and loss, and steps on batches of zeros."""

    def __init__(self, plan: Plan, configuration: Configuration, *, device: torch.device, precision: Precision) -> None:
        self.plan, self.configuration, self.device, self.precision = plan, configuration, device, precision
        settings, supervised = plan.training, plan.training.deep_supervision
        network = build_network(
            configuration.network,
            dimensions=configuration.dimensions,
            in_channels=plan.input_channels(configuration),
            out_channels=plan.labels.output_channels,
            deep_supervision=supervised,
        )
        self.network: nn.Module = network if device == CPU else network.to(device)
        self.optimiser = build_optimiser(self.network.parameters(), settings)
        self.average = WeightAverage(self.network, settings.weight_average) if settings.weight_average else None
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision.scaled)
        self.loss = build_loss(
            settings.loss,
            labels=plan.labels,
            batch_dice=configuration.batch_dice,
            deep_supervision_levels=decoder_levels(configuration.network) if supervised else 1,
            # They are counted in the labels when a training begins, and take no memory.
            settings=settings.model_copy(update={"class_weights": None}),
        )

    def batch(self) -> tuple[Tensor, Tensor]:
        """Image and target of zeros, on the device."""
        size, patch = self.configuration.batch_size, self.configuration.patch_size
        image = torch.zeros(size, self.plan.input_channels(self.configuration), *patch, device=self.device)
        return image, torch.zeros(size, *patch, dtype=torch.int64, device=self.device)

    def step(self, image: Tensor, target: Tensor) -> None:
        """One step as the training loop makes it."""
        self.optimiser.zero_grad(set_to_none=True)
        with self.precision.autocast(self.device):
            output = self.network(image)
        logits = [output] if isinstance(output, Tensor) else output
        # The loop holds on to the finest logits too.
        loss, _finest = self.loss(logits, target), logits[0]
        del output, logits
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimiser)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.plan.training.gradient_clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.average is not None:
            self.average.update(self.network)


def counted_bytes(plan: Plan, configuration: Configuration, *, precision: Numbers, is_real: bool = False) -> int:
    """The most bytes that the tensors of a second training step take at a time, as on a CPU.

    The tensors hold no numbers unless `is_real`, so networks of any size can be counted. Batches ahead do not count.
    """
    if not is_real:
        from torch._subclasses.fake_tensor import FakeTensorMode

        with FakeTensorMode():
            return _count(plan, configuration, precision=precision)
    return _count(plan, configuration, precision=precision)


def _count(plan: Plan, configuration: Configuration, *, precision: Numbers) -> int:
    trial = Trial(plan, configuration, device=CPU, precision=Precision(precision))
    image, target = trial.batch()
    count = TensorCount()
    for tensor in (*trial.network.parameters(), image, target):
        count.add(tensor)
    for tensor in trial.average.tensors.values() if trial.average else ():
        count.add(tensor)
    with count:
        # The first step makes the optimiser's state.
        for _ in range(2):
            count.peak = count.now
            trial.step(image, target)
    return count.peak


def measured(plan: Plan, configuration: Configuration, *, device: torch.device) -> dict[str, Any]:
    """What real steps take, as a JSON-ready dict: `peak_bytes` (None where memory ran out) and `capacity_bytes`.

    On a GPU the peak of what the allocator has reserved plus what others take, of all there is; on a CPU the peak of this
    process's memory, of the budget in the plan.
    """
    precision = choose_precision(plan.training.precision, device)
    on_gpu = device.type == "cuda"
    try:
        trial = Trial(plan, configuration, device=device, precision=precision)
        ahead = [trial.batch() for _ in range(1 + BATCHES_AHEAD)]
        if on_gpu:
            torch.backends.cudnn.benchmark = True
        for index in range(STEPS):
            trial.step(*ahead[index % len(ahead)])
        peak: int | None = _peak_bytes(device)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        peak = None
    capacity = torch.cuda.mem_get_info(device)[1] if on_gpu else configuration.memory_budget_bytes
    return {"peak_bytes": peak, "capacity_bytes": capacity, "device": str(device), "precision": precision.name}


def _peak_bytes(device: torch.device) -> int:
    if device.type != "cuda":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB
    torch.cuda.synchronize(device)
    free, total = torch.cuda.mem_get_info(device)
    outside = total - free - torch.cuda.memory_reserved(device)
    return torch.cuda.max_memory_reserved(device) + outside


def main() -> None:
    """Measure the configuration named by the first argument of the plan on standard input; prints JSON."""
    name, device = sys.argv[1:3]
    plan = Plan.model_validate_json(sys.stdin.read())
    found = measured(plan, plan.configurations[name], device=choose_device(device))
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
