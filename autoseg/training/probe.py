"""Sizes patch and batch of a plan by measurement: three training steps, then smaller or larger until it fits."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from autoseg.errors import TrainingError
from autoseg.planning.facts import label_entries
from autoseg.planning.fitting import gigabytes, network_spec, restated, with_memory
from autoseg.planning.memory import training_memory
from autoseg.planning.plan import Configuration, Decision, Plan
from autoseg.planning.presets import PRESETS
from autoseg.planning.sizing import shrinking
from autoseg.planning.topology import cost
from autoseg.progress import SILENT, Progress

SPARE = 0.10
"""Share of the memory that stays free."""
WORTH_GROWING = 0.15
"""From this unused share on, a larger batch is tried."""
MOST_TRIALS = 12
PROBE = "probe of "


@dataclass(frozen=True)
class Measured:
    """What three training steps took: bytes at the peak (None: more than there is), of how many, where and how."""

    peak_bytes: int | None
    capacity_bytes: int
    device: str
    precision: str

    @property
    def unused(self) -> float:
        """Share of the memory that stayed free; negative where it did not suffice."""
        return -1.0 if self.peak_bytes is None else 1 - self.peak_bytes / self.capacity_bytes


Measure = Callable[[Plan, Configuration], Measured]


def measured_apart(plan: Plan, configuration: Configuration, *, device: str = "auto") -> Measured:
    """Three training steps in a process of their own, whose end gives all memory back.

    A process that is killed ran out of memory. Raises TrainingError when it fails otherwise.
    """
    tried = plan.model_copy(update={"configurations": {**plan.configurations, configuration.name: configuration}})
    command = [sys.executable, "-m", "autoseg.training.memory_probe", configuration.name, device]
    # Python looks for modules in the working folder first: not where the user keeps files of any name.
    root = Path(__file__).parents[2]
    done = subprocess.run(command, input=tried.model_dump_json(), capture_output=True, text=True, check=False, cwd=root)
    if done.returncode == -9:
        return Measured(None, configuration.memory_budget_bytes or 1, device, "")
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise TrainingError(
            f"the probe of {configuration.name} failed on device {device}: {reason[0]}. Plan without --probe, or name "
            "another device with --device."
        )
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def probed(plan: Plan, *, most: Mapping[str, int], measure: Measure = measured_apart, progress: Progress = SILENT) -> Plan:
    """The plan with each configuration sized so that a measured step leaves a tenth of the memory free.

    `most` is the largest batch of each configuration that the size of the data set allows; one that was set by hand does
    not grow. Each result is a decision.
    """
    configurations = dict(plan.configurations)
    by_hand = {one.name for one in plan.decisions if one.source == "--set"}
    decisions = []
    for name in progress.track(list(configurations), description="probing memory", total=len(configurations)):
        start = configurations[name]
        cap = start.batch_size if f"set by hand: {name}.batch_size" in by_hand else most[name]
        configurations[name], decision = _probed(plan, start, most=cap, measure=measure)
        decisions.append(decision)
    kept = restated(plan, configurations, kind=PROBE).decisions
    others = tuple(one for one in kept if one.name not in {new.name for new in decisions})
    return with_memory(plan.model_copy(update={"configurations": configurations, "decisions": (*others, *decisions)}))


def measurements(plan: Plan) -> list[str]:
    """What a probe of `plan` found, a line for each configuration; none where it was not probed."""
    return [f"{one.name}: {one.value} ({one.because})" for one in plan.decisions if one.name.startswith(PROBE)]


def _probed(plan: Plan, start: Configuration, *, most: int, measure: Measure) -> tuple[Configuration, Decision]:
    """The configuration that fits, and what was measured on the way."""
    now, good, refused = start, None, most + 1
    story = []
    for _ in range(MOST_TRIALS):
        found = measure(plan, now)
        took = "more than there is" if found.peak_bytes is None else gigabytes(found.peak_bytes)
        story.append(f"patch {'x'.join(map(str, now.patch_size))} batch {now.batch_size} took {took}")
        if found.unused >= SPARE:
            good = now
            larger = _larger(plan, now, found, below=refused) if found.unused >= WORTH_GROWING else None
            if larger is None:
                break
            now = larger
        else:
            refused = min(refused, now.batch_size)
            if good is not None and refused - good.batch_size <= 1:
                break
            now = _smaller(plan, now, found, above=good)
            if good is None and now.patch_size != start.patch_size:
                refused = most + 1
    if good is None:
        raise TrainingError(
            f"{start.name}: nothing that was tried fits with {SPARE:.0%} of {gigabytes(found.capacity_bytes)} to spare "
            f"({'; '.join(story)}). Plan for less memory first: --gpu-memory GB."
        )
    because = f"three steps on {found.device} in {found.precision} of {gigabytes(found.capacity_bytes)}: {'; '.join(story)}"
    value = f"patch {' x '.join(map(str, good.patch_size))}, batch {good.batch_size}"
    return good, Decision(name=PROBE + start.name, value=value, because=because, source="autoseg_plan --probe")


def _larger(plan: Plan, now: Configuration, found: Measured, *, below: int) -> Configuration | None:
    """The largest batch under `below` that should fit, going by what was measured; None where there is none."""
    for batch in range(below - 1, now.batch_size, -1):
        tried = now.model_copy(update={"batch_size": batch})
        if _expected(plan, tried, now, found) <= (1 - SPARE) * found.capacity_bytes:
            return tried
    return None


def _smaller(plan: Plan, now: Configuration, found: Measured, *, above: Configuration | None) -> Configuration:
    """The next smaller batch that should fit, or with the smallest batch the next smaller patch."""
    least = above.batch_size + 1 if above is not None else PRESETS[plan.preset].smallest_batch
    for batch in range(now.batch_size - 1, least - 1, -1):
        tried = now.model_copy(update={"batch_size": batch})
        if batch == least or _expected(plan, tried, now, found) <= (1 - SPARE) * found.capacity_bytes:
            return tried
    return _next_patch(plan, now)


def _expected(plan: Plan, tried: Configuration, now: Configuration, found: Measured) -> float:
    """Bytes that `tried` should take: the prediction, scaled by how far it was off."""
    if found.peak_bytes is None:
        return float("inf")
    ahead, behind = (
        training_memory(one, channels=plan.input_channels(one), labels=plan.labels, training=plan.training)
        for one in (tried, now)
    )
    if ahead is None or behind is None:
        return found.peak_bytes * tried.batch_size / now.batch_size
    return found.peak_bytes * ahead.total / behind.total


def _next_patch(plan: Plan, now: Configuration) -> Configuration:
    """The next smaller design on the planner's way down; raises TrainingError at its end."""
    preset = PRESETS[plan.preset]
    for design in shrinking(now.spacing_mm, now.median_shape):
        smaller = all(a <= b for a, b in zip(design.patch_size, now.patch_size, strict=True))
        if smaller and design.patch_size != now.patch_size:
            price = cost(design, preset, outputs=label_entries(plan.labels))
            spec = network_spec(design, preset)
            return now.model_copy(update={"patch_size": design.patch_size, "network": spec, "cost": price})
    raise TrainingError(f"{now.name}: not even the smallest patch, {now.patch_size}, fits. Choose another --preset.")
