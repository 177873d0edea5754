"""Laws that hold for the plan of any data set."""

import math
import time

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from autoseg.errors import PlanError
from autoseg.planning.consistency import check_configuration
from autoseg.planning.facts import label_entries
from autoseg.planning.memory import GIB
from autoseg.planning.plan import Plan
from autoseg.planning.planner import make_plan
from autoseg.planning.presets import PRESETS
from autoseg.planning.settings import apply_settings
from autoseg.planning.topology import network_cost, total_stride
from tests.planning.facts import STATISTICS, brain, scheme

EDGES = {
    "ordinary": st.tuples(st.integers(60, 400), st.integers(60, 600), st.integers(60, 600)),
    "thin": st.tuples(st.integers(2, 24), st.integers(100, 700), st.integers(100, 700)),
    "tiny": st.tuples(*[st.integers(4, 12)] * 3),
    "huge": st.tuples(st.integers(400, 3000), st.integers(800, 4000), st.integers(800, 4000)),
    "flat": st.tuples(st.just(1), st.integers(16, 5000), st.integers(16, 5000)),
    "line": st.tuples(st.integers(1, 4), st.integers(4, 8), st.integers(50, 2000)),
    "dust": st.tuples(*[st.integers(1, 3)] * 3),
}


@st.composite
def datasets(draw):
    """Facts of anisotropic, tiny, huge, thin and 2-D data sets of 1 to 40 cases, 1 to 60 classes, 1 to 4 channels."""
    kind = draw(st.sampled_from(sorted(EDGES)))
    event(kind)
    cases = draw(st.integers(1, 40))
    spacing = draw(st.tuples(*[st.floats(0.05, 12)] * 3))
    if kind == "flat":
        spacing = (999.0, spacing[1], spacing[1])
    wobble = draw(st.lists(st.floats(0.7, 1.4), min_size=cases, max_size=cases))
    shape = draw(EDGES[kind])
    shapes = tuple((shape[0], max(round(shape[1] * w), 1), max(round(shape[2] * w), 1)) for w in wobble)
    channels = draw(st.sampled_from([("CT",), ("T1",), ("T1", "T2", "FLAIR", "T1ce"), ("rgb_to_0_1",) * 3]))
    return brain(
        channels=channels,
        intensities=(STATISTICS,) * len(channels),
        spacings_mm=tuple((spacing[0], spacing[1] * w, spacing[2]) for w in wobble),
        shapes=shapes,
        training_cases=cases,
        relative_size=draw(st.floats(0.01, 1)),
        labels=scheme(*(f"class {index}" for index in range(draw(st.sampled_from([1, 2, 14, 60]))))),
    )


asked = st.tuples(st.sampled_from(sorted(PRESETS)), st.sampled_from([None, 4.0, 11.0, 80.0]))


def planned(facts, preset, memory, *, in_sight=False):
    """The plan, with the least memory that does where the wanted one is too small; on a GPU of that size if `in_sight`."""
    memory = PRESETS[preset].reference_gb if memory is None else memory
    try:
        return make_plan(facts, preset=preset, gpu_memory_gb=memory, device_bytes=int(memory * GIB) if in_sight else None)
    except PlanError as error:
        least = float(str(error).split("--gpu-memory ")[1].removesuffix(")."))
        return make_plan(facts, preset=preset, gpu_memory_gb=least)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(facts=datasets(), wanted=asked)
def test_every_plan_is_divisible_within_budget_and_complete(facts, wanted):
    preset, memory = wanted
    plan = planned(facts, preset, memory)
    share = plan.gpu_memory_gb / PRESETS[preset].reference_gb
    for one in plan.configurations.values():
        check_configuration(one, plan=plan, key=one.name)
        network = one.network
        assert all(n % d == 0 for n, d in zip(one.patch_size, total_stride(network.strides), strict=True))
        assert one.batch_size >= 2
        assert one.cost == network_cost(
            one.patch_size,
            strides=network.strides,
            features=network.features,
            encoder_blocks=network.encoder_blocks,
            decoder_blocks=network.decoder_blocks,
            is_residual=network.kind == "residual_unet",
            outputs=label_entries(facts.labels),
        )
        # The plain preset may fill its whole reference batch (12 in 2-D) with two samples.
        slack = 6 if preset == "nnunet" and one.dimensions == 2 else 1
        assert one.cost <= slack * share * PRESETS[preset].reference_cost(one.dimensions) * (1 + 1e-9)
        assert one.previous_stage is None or one.previous_stage in plan.configurations


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(facts=datasets(), wanted=asked, more=st.floats(1, 4), in_sight=st.booleans())
def test_more_memory_never_gives_a_smaller_patch_or_for_the_same_patch_a_smaller_batch(facts, wanted, more, in_sight):
    preset, memory = wanted
    less = planned(facts, preset, memory, in_sight=in_sight)
    larger = planned(facts, preset, less.gpu_memory_gb * more, in_sight=in_sight)
    # A resolution may only become superfluous.
    assert set(larger.configurations) <= set(less.configurations)
    assert {"2d", "3d_fullres"} & set(less.configurations) <= set(larger.configurations)
    for name, now in larger.configurations.items():
        before = less.configurations[name]
        assert all(a <= b for a, b in zip(now.spacing_mm, before.spacing_mm, strict=True))
        if now.spacing_mm == before.spacing_mm:
            assert math.prod(now.patch_size) >= math.prod(before.patch_size)
            assert now.batch_size >= before.batch_size or now.patch_size != before.patch_size


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(facts=datasets(), wanted=asked)
def test_every_plan_is_the_same_again_and_survives_saving(facts, wanted):
    plan = planned(facts, *wanted)
    assert planned(facts, *wanted) == plan
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
    example = next(reversed(plan.configurations.values()))
    patch = ",".join(map(str, example.patch_size))
    assert apply_settings(plan, [f"{example.name}.patch_size={patch}"]).configurations == plan.configurations


@pytest.mark.parametrize("shape", [(900, 1400, 1400), (3000, 4000, 4000), (20, 512, 512)])
def test_planning_is_quick_whatever_the_size(shape):
    facts = brain(shapes=(shape,) * 300, spacings_mm=((0.7, 0.6, 0.6),) * 300, training_cases=300)
    start = time.process_time()
    make_plan(facts, gpu_memory_gb=40)
    assert time.process_time() - start < 1
