import pytest
import torch

from autoseg.errors import TrainingError, UnknownNameError
from autoseg.training.device import choose_device, choose_precision, refuse_slow_torch

CPU = torch.device("cpu")


def test_an_unknown_device_is_refused_with_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'cuda'"):
        choose_device("cudda")


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(TrainingError, match="device cuda:99: this machine has"):
        choose_device("cuda:99")


def test_the_cpu_can_always_be_chosen():
    assert choose_device("cpu") == CPU


@pytest.mark.parametrize(
    ("flags", "expected"), [("fpu avx512_bf16", "bf16"), ("fpu amx_bf16", "bf16"), ("fpu avx512f avx2", "fp32")]
)
def test_bf16_is_chosen_on_processors_that_multiply_it(tmp_path, flags, expected):
    info = tmp_path / "cpuinfo"
    info.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t: none\n")
    assert choose_precision("auto", CPU, cpu_info=info).name == expected


def test_without_cpuinfo_single_precision_is_chosen(tmp_path):
    assert choose_precision("auto", CPU, cpu_info=tmp_path / "none").name == "fp32"


def test_a_precision_set_by_hand_is_honoured_and_fp16_refused_on_the_cpu():
    assert choose_precision("bf16", CPU).name == "bf16"
    with pytest.raises(TrainingError, match="needs a CUDA device"):
        choose_precision("fp16", CPU)


def test_autocast_computes_in_the_chosen_type():
    layer = torch.nn.Linear(2, 2)
    with choose_precision("bf16", CPU).autocast(CPU):
        assert layer(torch.zeros(1, 2)).dtype == torch.bfloat16
    with choose_precision("fp32", CPU).autocast(CPU):
        assert layer(torch.zeros(1, 2)).dtype == torch.float32


def test_torch_2_9_is_refused_with_the_reason_and_its_neighbours_are_not():
    with pytest.raises(TrainingError, match="four times slower"):
        refuse_slow_torch("2.9.1+cu128")
    refuse_slow_torch("2.8.0")
    refuse_slow_torch("2.10.0")


@pytest.mark.parametrize("name", ["auto", "cpu"])
def test_torch_2_9_is_refused_on_every_device(name, monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.9.0+cpu")
    with pytest.raises(TrainingError, match=r"torch 2\.9\.0\+cpu is not used.*pip install"):
        choose_device(name)
