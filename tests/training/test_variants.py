import pytest
import torch

from autoseg.errors import UnknownNameError
from autoseg.networks.unet import build_network
from autoseg.planning.plan import NetworkSpec, TrainingSettings
from autoseg.training.allocator import kept_memory
from autoseg.training.device import Precision
from autoseg.training.optim import build_optimiser
from autoseg.training.variants import VARIANTS, arranged, uncompiled, usual, variant_called

CPU = torch.device("cpu")


def small_network():
    spec = NetworkSpec(
        kind="plain_unet",
        features=(4, 8),
        kernels=((3, 3, 3),) * 2,
        strides=((1, 1, 1), (2, 2, 2)),
        encoder_blocks=(1, 1),
        decoder_blocks=(1,),
    )
    return build_network(spec, dimensions=3, in_channels=1, out_channels=2, deep_supervision=False)


def test_an_unknown_variant_is_refused_with_the_nearest_name():
    with pytest.raises(UnknownNameError, match="Did you mean 'channels_last'"):
        variant_called("chanels_last")
    assert variant_called("auto") is None


def test_only_processors_with_bf16_start_channels_last():
    assert str(usual(CPU, Precision("bf16"))) == "channels_last"
    assert str(usual(CPU, Precision("fp32"))) == "plain"
    assert str(usual(torch.device("cuda"), Precision("bf16"))) == "plain"


def test_channels_last_changes_neither_names_nor_values_nor_what_is_computed():
    plain, other = small_network(), arranged(small_network(), VARIANTS["channels_last"])
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name])
    image = torch.randn(2, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(other(image), plain(image), atol=1e-5, rtol=1e-5)
    plain(image).square().mean().backward()
    other(image).square().mean().backward()
    for one, two in zip(plain.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(two.grad, one.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_a_fused_optimiser_takes_the_step_of_the_plain_one(name):
    weights = []
    for fused in (False, True):
        weight = torch.nn.Parameter(torch.linspace(-1, 1, 7))
        optimiser = build_optimiser([weight], TrainingSettings(optimiser=name), fused=fused)
        for _ in range(3):
            optimiser.zero_grad()
            weight.square().sum().backward()
            optimiser.step()
        weights.append(weight.detach())
    torch.testing.assert_close(weights[0], weights[1])


def test_memory_is_kept_only_inside_and_nothing_else_changes():
    with kept_memory():
        with kept_memory():
            pass
        total = torch.ones(1000, 1000).sum()
    assert float(total) == 1_000_000


def test_what_is_computed_a_few_times_is_not_compiled_anew():
    network = small_network()
    image = torch.zeros(1, 1, 8, 8, 8)
    expected = network(image)
    network._compiled_call_impl = lambda *_: pytest.fail("the compiled network was called")
    with uncompiled(network):
        torch.testing.assert_close(network(image), expected)
    assert network._compiled_call_impl is not None
