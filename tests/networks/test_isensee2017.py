import pytest
import torch
import torch.nn.functional as F

from autoseg.networks.isensee2017 import SEGMENTED_LEVELS, ContextModule
from autoseg.networks.unet import build_network, decoder_levels
from autoseg.planning.plan import NetworkSpec


def spec(stages=5, *, dimensions=3, **changes):
    values = {
        "kind": "isensee2017",
        "features": tuple(4 * 2**stage for stage in range(stages)),
        "kernels": ((3,) * dimensions,) * stages,
        "strides": ((1,) * dimensions, *((2,) * dimensions,) * (stages - 1)),
        "encoder_blocks": (1,) * stages,
        "decoder_blocks": (1,) * (stages - 1),
        "dropout": 0.3,
    }
    return NetworkSpec(**(values | changes))


def built(of, *, deep_supervision=False, in_channels=4, out_channels=3):
    return build_network(
        of,
        dimensions=len(of.kernels[0]),
        in_channels=in_channels,
        out_channels=out_channels,
        deep_supervision=deep_supervision,
    )


def test_the_published_network_counted_by_hand():
    # 16 base filters, depth 5, four sequences, three channels, as in the paper.
    features = (16, 32, 64, 128, 256)
    network = built(spec(features=features))

    def conv(given, made, voxels=27):
        return given * made * voxels + made

    context = sum(
        conv(given, made) + 2 * (conv(made, made) + 2 * made) + 2 * made
        for given, made in zip((4, *features), features, strict=False)
    )
    localisation = sum(
        conv(2 * f, f) + 2 * f + conv(2 * f, 2 * f) + 4 * f + conv(2 * f, f, voxels=1) + 2 * f for f in features[:-1]
    )
    heads = sum(conv(f, 3, voxels=1) for f in features[:3])
    assert sum(parameter.numel() for parameter in network.parameters()) == context + localisation + heads


@pytest.mark.parametrize(("stages", "outputs"), [(1, 1), (2, 1), (3, 2), (4, 3), (5, 3)])
def test_the_three_finest_levels_have_logits_and_their_sum_is_the_output(stages, outputs):
    of = spec(stages)
    network = built(of, deep_supervision=True).eval()
    image = torch.randn(1, 4, 16, 16, 32, generator=torch.Generator().manual_seed(0))
    logits = network(image)
    assert [level.shape[2] for level in logits] == [16 // 2**level for level in range(outputs)]
    assert decoder_levels(of) == outputs <= SEGMENTED_LEVELS
    with torch.no_grad():
        network.heads[-1].weight.zero_()
        network.heads[-1].bias.zero_()
        without_finest = network(image)
    if outputs > 1:
        assert torch.allclose(without_finest[0], F.interpolate(logits[1], scale_factor=2.0))


def test_a_context_module_adds_what_two_convolutions_find_to_its_input():
    module = ContextModule(features=3, kernel=(3, 3), norm="instance", dropout=0.3)
    features = torch.randn(2, 3, 6, 6)
    assert torch.nn.Dropout2d in {type(part) for part in module.modules()}
    with torch.no_grad():
        module.second.conv.weight.zero_()
        module.second.conv.bias.zero_()
    assert torch.equal(module(features), features)


def test_other_strides_and_two_dimensions_work_too():
    flat = spec(3, strides=((1, 1, 1), (1, 2, 2), (2, 2, 2)), kernels=((1, 3, 3), (3, 3, 3), (3, 3, 3)))
    assert built(flat)(torch.randn(1, 4, 6, 8, 12)).shape == (1, 3, 6, 8, 12)
    assert built(spec(3, dimensions=2))(torch.randn(2, 4, 8, 12)).shape == (2, 3, 8, 12)


def test_half_precision_gives_finite_gradients():
    network = built(spec(3), deep_supervision=True)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(torch.randn(1, 4, 8, 8, 8))
    sum(level.float().square().mean() for level in logits).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())
