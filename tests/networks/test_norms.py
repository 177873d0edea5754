import pytest
import torch
from torch.nn import functional as F

from autoseg.networks.norms import InstanceNorm, is_channels_last


def grids(axes):
    return torch.randn(3, 5, *(4, 6, 3)[:axes], generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("numbers", [torch.float32, torch.bfloat16])
def test_channels_last_gives_the_values_and_gradients_of_torchs_instance_norm(axes, numbers):
    norm = InstanceNorm(5, epsilon=1e-5)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, -0.5, 2.0, 0.0, 1.5]))
        norm.bias.copy_(torch.tensor([0.0, 1.0, -1.0, 0.5, 0.1]))
    layout = torch.channels_last if axes == 2 else torch.channels_last_3d
    values = grids(axes).to(numbers)
    ours = values.clone(memory_format=layout).requires_grad_()
    theirs = values.float().requires_grad_()
    weights = torch.randn(values.shape, generator=torch.Generator().manual_seed(2))
    result = norm(ours)
    expected = F.instance_norm(theirs, weight=norm.weight, bias=norm.bias, eps=1e-5)
    tolerance = 1e-5 if numbers == torch.float32 else 3e-2
    torch.testing.assert_close(result.float(), expected, atol=tolerance, rtol=tolerance)
    parameters = (norm.weight, norm.bias)
    found = torch.autograd.grad((result.float() * weights).sum(), (ours, *parameters))
    wanted = torch.autograd.grad((expected * weights).sum(), (theirs, *parameters))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one.float(), other, atol=3 * tolerance, rtol=3 * tolerance)


def test_the_layout_stays_as_it_is():
    norm = InstanceNorm(5, epsilon=1e-5)
    assert norm(grids(3)).is_contiguous()
    assert is_channels_last(norm(grids(3).contiguous(memory_format=torch.channels_last_3d)))


def test_its_weights_bear_the_names_of_torchs_instance_norm():
    assert set(InstanceNorm(4, epsilon=1e-5).state_dict()) == set(torch.nn.InstanceNorm3d(4, affine=True).state_dict())
