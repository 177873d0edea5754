"""A case is predicted within the memory there is, and the result is the same whichever way."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from autoseg.data.image import Geometry, Image
from autoseg.data.labels import Label, LabelScheme
from autoseg.planning.memory import GIB
from autoseg.prediction.ensemble import Member
from autoseg.prediction.memory import Job, choose_way, parted, resident_bytes, ring_bytes
from autoseg.prediction.predictor import Predictor
from autoseg.prediction.settings import Settings
from tests.prediction import small

CPU = torch.device("cpu")
MANY = LabelScheme(labels=tuple(Label(name=str(value), value=value) for value in range(100)))


def job(shape: tuple[int, int, int] = (64, 96, 96), network_shape: tuple[int, int, int] | None = None) -> Job:
    plan = small.plan(labels=MANY, patch_size=(32, 32, 32))
    return Job(
        configuration=plan.configurations["3d_fullres"],
        plan=plan,
        networks=1,
        shape=network_shape or shape,
        orders=(1, 1, 1),
        patch_size=(32, 32, 32),
        step=0.5,
        batch_size=1,
    )


def test_only_the_slices_that_a_window_reaches_are_summed() -> None:
    everything = (slice(0, 96), slice(0, 96))
    assert ring_bytes(job(), (64, 96, 96), everything) == 4 * 100 * 32 * 96 * 96
    # On a grid of half the resolution a part needs its own half and the neighbours of its border.
    assert ring_bytes(job(network_shape=(32, 48, 48)), (64, 96, 96), (slice(0, 48), slice(0, 96))) == 4 * 100 * 32 * 25 * 48


@pytest.mark.parametrize(("extra_mb", "parts"), [(700, 0), (250, 2), (1, 64)])
def test_slices_are_parted_as_little_as_the_memory_asks_for(extra_mb: int, parts: int) -> None:
    memory_gb = (resident_bytes() + extra_mb * 2**20) / GIB
    way = choose_way([job()], shape=(64, 96, 96), device=CPU, precision="fp32", memory_gb=memory_gb)
    if parts != 64:
        assert len(way.boxes) == parts
        assert way.expected_bytes <= extra_mb * 2**20
    else:  # not even the smallest parts fit: the smallest are taken
        assert len(way.boxes) >= 16
    assert str(way).startswith("slab-wise on cpu" + (f" in {len(way.boxes)} parts" if way.boxes else ""))


def test_members_kept_apart_are_counted_and_parted_like_everything_else() -> None:
    everything = (slice(0, 96), slice(0, 96))
    five = replace(job(), networks=5, voices=5)
    assert ring_bytes(five, (64, 96, 96), everything) == 6 * ring_bytes(job(), (64, 96, 96), everything)
    memory_gb = (resident_bytes() + 600 * 2**20) / GIB
    way = choose_way([five], shape=(64, 96, 96), device=CPU, precision="fp32", memory_gb=memory_gb)
    assert len(way.boxes) > 1
    assert way.expected_bytes <= 600 * 2**20


def test_what_is_read_meanwhile_is_left_room_for() -> None:
    memory_gb = (resident_bytes() + 700 * 2**20) / GIB
    settings = {"shape": (64, 96, 96), "device": CPU, "precision": "fp32", "memory_gb": memory_gb}
    assert not choose_way([job()], **settings).boxes
    assert choose_way([job()], **settings, reserve=450 * 2**20).boxes


@pytest.mark.parametrize(("size", "count"), [(10, 1), (10, 3), (8, 8), (513, 2)])
def test_parts_cover_an_axis_once(size: int, count: int) -> None:
    parts = parted(size, count)
    assert [voxel for part in parts for voxel in range(part.start, part.stop)] == list(range(size))
    assert len(parts) == count


LIMITED = """
import json
import numpy as np
import torch
from autoseg.data.image import Geometry, Image
from autoseg.prediction.ensemble import Member
from autoseg.prediction.predictor import Predictor
from autoseg.prediction.settings import Settings
from tests.prediction import small
from tests.prediction.limited import at_most_more
from tests.prediction.test_memory import MANY

torch.set_num_threads(1)
plan = small.plan(labels=MANY, patch_size=(32, 32, 32))
member = Member(plan, plan.configurations["3d_fullres"], (small.network(plan),))
predictor = Predictor([member], settings=Settings(precision="fp32", device="cpu", mirroring="none"))
shape, spacing = SHAPE, SPACING
image = Image(small.scan(*shape)[None], Geometry(shape, spacing, np.eye(4)))
predictor.predict(Image(image.voxels[:, :16, :16, :16], Geometry((16, 16, 16), (1.0, 1.0, 1.0), np.eye(4))))
with at_most_more(300):
    try:
        torch.zeros(100, *shape)
        refused = False
    except RuntimeError:
        refused = True
    limited = predictor.predict(image)
free = predictor.predict(image)
print(json.dumps({"refused": refused, "limited": limited.way, "free": free.way, "classes": len(np.unique(free.labels)),
                  "same": bool(np.array_equal(limited.labels, free.labels))}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="sets a limit as Linux has it")
@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((128, 96, 96), (1.0, 1.0, 1.0)), ((64, 192, 160), (1.0, 0.5, 0.5))],
    ids=["same grid", "resampled"],
)
def test_a_hundred_classes_are_predicted_under_a_limit_that_all_their_scores_exceed(
    shape: tuple[int, ...], spacing: tuple[float, ...]
) -> None:
    code = LIMITED.replace("SHAPE", str(shape)).replace("SPACING", str(spacing))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    # All scores would take 472 and 786 MB; 300 MB may be allocated.
    assert found["refused"]
    assert found["same"]
    assert "parts" in found["limited"]
    assert found["free"] == "slab-wise on cpu"
    assert found["classes"] > 5


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.25, 1.5, 0.8)], ids=["same grid", "resampled"])
@pytest.mark.parametrize("flat", [False, True], ids=["3-D", "2-D"])
def test_parted_or_not_the_label_map_is_the_same(spacing: tuple[float, ...], flat: bool) -> None:
    some = LabelScheme(labels=MANY.labels[:9])
    sizes = {"patch_size": (8, 8), "spacing_mm": spacing[1:], "name": "2d"} if flat else {"spacing_mm": spacing}
    plan = small.plan(labels=some, **sizes)
    member = Member(plan, next(iter(plan.configurations.values())), (small.network(plan),))
    image = Image(small.scan(9, 17, 14)[None], Geometry((9, 17, 14), (1.0, 1.0, 1.0), np.eye(4)))
    plenty, none = (
        Predictor(
            [member, member], settings=Settings(precision="fp32", device="cpu", mirroring="none", memory_gb=gb)
        ).predict(image)
        for gb in (8.0, 0.001)
    )
    assert (plenty.way, none.way[:19]) == ("slab-wise on cpu", "slab-wise on cpu in")
    assert len(np.unique(plenty.labels)) > 3
    np.testing.assert_array_equal(plenty.labels, none.labels)
