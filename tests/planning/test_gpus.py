import pytest

from autoseg.errors import PlanError, UnknownNameError
from autoseg.planning.gpus import MIB, Gpu, listed_gpus, size_changes, target
from autoseg.planning.planner import make_plan
from tests.planning.facts import brain

ANSWER = "0, GPU-aaa, NVIDIA RTX A4000, 16376\n1, GPU-bbb, NVIDIA GeForce RTX 3050, 8192\n"
LARGE, SMALL = Gpu("A4000", 16376 * MIB), Gpu("RTX 3050", 8188 * MIB)
TINY = Gpu("T400", 4096 * MIB)


@pytest.mark.parametrize(
    ("chosen", "sizes"),
    [(None, [16376, 8192]), ("1", [8192]), ("GPU-a", [16376]), ("", []), ("0,1", [16376, 8192]), ("-1", [])],
)
def test_gpus_are_those_the_environment_leaves(chosen, sizes):
    assert [gpu.bytes // MIB for gpu in listed_gpus(ANSWER, chosen=chosen)] == sizes


def test_what_is_no_list_of_gpus_is_none():
    assert listed_gpus("NVIDIA-SMI has failed\n", chosen=None) == ()


@pytest.mark.parametrize(
    ("preset", "asked", "gpus", "expected"),
    [
        ("nnunet", None, [], (8, None)),
        ("resenc_l", None, [], (24, None)),
        ("nnunet", None, [LARGE], (8, LARGE.bytes)),
        ("nnunet", None, [SMALL], (8, SMALL.bytes)),
        ("nnunet", None, [LARGE, TINY], (4, TINY.bytes)),
        ("nnunet", "auto", [LARGE], (16, LARGE.bytes)),
        ("nnunet", 12.0, [SMALL], (12, None)),
        ("nnunet", 6.0, [SMALL], (6, SMALL.bytes)),
        ("nnunet", 6.0, [], (6, None)),
    ],
)
def test_a_plan_is_made_for_the_preset_unless_the_smallest_gpu_has_less(preset, asked, gpus, expected):
    found = target(preset, asked=asked, gpus=gpus)
    assert (found.gpu_memory_gb, found.device_bytes) == expected


def test_auto_without_a_gpu_says_so():
    with pytest.raises(PlanError, match=r"no GPU is in sight.*--gpu-memory 24"):
        target("resenc_l", asked="auto", gpus=[])


def test_an_unknown_preset_is_refused():
    with pytest.raises(UnknownNameError, match="resenc_m"):
        target("resenc", asked=None, gpus=[])


def test_changes_name_configurations_whose_patch_or_batch_differs():
    small, large = (make_plan(brain(), gpu_memory_gb=memory) for memory in (8, 16))
    lines = size_changes(small, large)
    # In 2-D the size of the data set limits the batch, not the memory.
    assert [line.partition(" -> ")[0] for line in lines] == ["3d_fullres: patch 128 x 128 x 128, batch 2"]
    assert size_changes(small, small) == []
