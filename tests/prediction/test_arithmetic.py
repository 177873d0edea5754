from dataclasses import replace

import pytest
import torch

from autoseg.errors import AutosegError, PredictionError
from autoseg.networks.int8 import Int8Convolution
from autoseg.prediction.arithmetic import choose_arithmetic, made_ready
from autoseg.prediction.ensemble import Member
from autoseg.prediction.settings import Settings
from autoseg.training.device import Precision
from autoseg.training.model_folder import network_of
from tests.prediction import small

CPU = torch.device("cpu")
INT8 = Settings(precision="int8", device="cpu")


def has_int8():
    try:
        return choose_arithmetic(INT8, CPU).name == "int8"
    except AutosegError:
        return False


needs_int8 = pytest.mark.skipif(not has_int8(), reason="this processor does not multiply whole numbers of eight bits")


def info(place, flags):
    file = place / "cpuinfo"
    file.write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    return file


def member(*, kind="plain_unet", features=(16, 32)):
    plan = small.plan()
    one = plan.configurations["3d_fullres"]
    one = one.model_copy(update={"network": one.network.model_copy(update={"features": features})})
    network = small.Brightness() if kind == "foreign" else network_of(plan, one)
    return Member(plan, one, (network,))


def test_int8_is_refused_on_a_processor_that_would_overflow(tmp_path):
    with pytest.raises(PredictionError, match=r"--precision int8 needs a processor with one of .*avx512_vnni.*auto"):
        choose_arithmetic(INT8, CPU, cpu_info=info(tmp_path, "avx2 avx512f avx512_bf16"))
    with pytest.raises(PredictionError, match="--precision int8"):
        choose_arithmetic(INT8, CPU, cpu_info=tmp_path / "none")


def test_int8_is_refused_on_a_gpu(tmp_path):
    with pytest.raises(PredictionError, match="--precision int8 is for processors, found device cuda:0"):
        choose_arithmetic(INT8, torch.device("cuda:0"), cpu_info=info(tmp_path, "avx512_vnni"))


def test_int8_has_to_be_asked_for(tmp_path):
    flags = info(tmp_path, "avx512_vnni avx512_bf16")
    assert choose_arithmetic(Settings(device="cpu"), CPU, cpu_info=flags).name == "bf16"
    assert choose_arithmetic(INT8, CPU, cpu_info=flags).name == "int8"


@pytest.mark.parametrize(("name", "changed"), [("fp32", False), ("bf16", True), ("int8", True)])
def test_a_processor_predicts_with_copies_where_it_computes_in_fewer_bits(name, changed):
    one = member()
    ready = made_ready(one, Precision(name), CPU)
    (network,), (given,) = ready.networks, one.networks
    assert (network is not given) == changed
    assert all(parameter.dtype == torch.float32 for parameter in given.parameters())
    assert any(isinstance(module, Int8Convolution) for module in network.modules()) == (name == "int8")


def test_the_stage_before_is_made_ready_as_well():
    one = replace(member(), previous=member())
    ready = made_ready(one, Precision("int8"), CPU)
    assert any(isinstance(module, Int8Convolution) for module in ready.previous.networks[0].modules())


def test_int8_names_a_network_it_does_not_know():
    with pytest.raises(PredictionError, match=r"--precision int8 knows plain and residual U-Nets; 3d_fullres of"):
        made_ready(member(kind="foreign"), Precision("int8"), CPU)
