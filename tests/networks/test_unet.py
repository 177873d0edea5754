import math

import pytest
import torch
from torch import nn

from autoseg.errors import PlanError, UnknownNameError
from autoseg.networks.blocks import ResidualBlock
from autoseg.networks.unet import Decoder, build_network, decoder_levels
from autoseg.planning.plan import NetworkSpec


def spec(kind="plain_unet", **changes):
    values = {
        "kind": kind,
        "features": (4, 8, 16),
        "kernels": ((1, 3, 3), (3, 3, 3), (3, 3, 3)),
        "strides": ((1, 1, 1), (1, 2, 2), (2, 2, 2)),
        "encoder_blocks": (2, 2, 2) if kind == "plain_unet" else (1, 3, 2),
        "decoder_blocks": (2, 2) if kind == "plain_unet" else (1, 1),
    }
    return NetworkSpec(**(values | changes))


def build(found, *, dimensions=3, deep_supervision=True, seed=0):
    return build_network(
        found, dimensions=dimensions, in_channels=2, out_channels=3, deep_supervision=deep_supervision, seed=seed
    )


def flat(found):
    return found.model_copy(
        update={
            "kernels": tuple(kernel[1:] for kernel in found.kernels),
            "strides": tuple(stride[1:] for stride in found.strides),
        }
    )


KINDS = pytest.mark.parametrize("kind", ["plain_unet", "residual_unet"])


@KINDS
def test_outputs_come_finest_first_and_follow_the_strides(kind):
    outputs = build(spec(kind))(torch.zeros(2, 2, 4, 8, 16))
    assert [tuple(output.shape) for output in outputs] == [(2, 3, 4, 8, 16), (2, 3, 4, 4, 8)]
    assert len(outputs) == decoder_levels(spec(kind))


@KINDS
def test_without_deep_supervision_the_finest_output_comes_alone_and_is_the_same(kind):
    network = build(spec(kind)).eval()
    image = torch.randn(1, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    finest = network(image)[0]
    network.deep_supervision = False
    assert torch.equal(network(image), finest)


@KINDS
def test_two_dimensional_networks_take_pictures(kind):
    outputs = build(flat(spec(kind)), dimensions=2)(torch.zeros(2, 2, 8, 16))
    assert [tuple(output.shape) for output in outputs] == [(2, 3, 8, 16), (2, 3, 4, 8)]


def counted_elements(network, image):
    """Feature-map elements of one sample: outputs of convolutions, skip connections and the finest head."""
    sizes = []

    def count(module, arguments, output):
        sizes.append(output[0].numel())

    skips = [module.skip for module in network.modules() if isinstance(module, ResidualBlock)]
    inside_skips = {inner for skip in skips for inner in skip.modules()}
    for module in network.modules():
        is_convolution = isinstance(module, (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d))
        is_skip = module in skips and not isinstance(module, nn.Identity)
        if is_skip or (is_convolution and module not in inside_skips):
            module.register_forward_hook(count)
    network.deep_supervision = False
    network(image)
    return sum(sizes)


@pytest.mark.parametrize("kind", ["plain_unet", "residual_unet"])
def test_feature_map_elements_agree_with_the_closed_form(kind):
    found, patch, heads = spec(kind), (4, 8, 16), 3
    voxels, edges = [], list(patch)
    for stride in found.strides:
        edges = [edge // step for edge, step in zip(edges, stride, strict=True)]
        voxels.append(math.prod(edges))
    features, stages = found.features, range(len(found.features))
    if kind == "plain_unet":
        expected = sum(2 * features[s] * voxels[s] for s in stages)
        expected += sum(3 * features[s] * voxels[s] for s in stages[:-1])
    else:
        changes = [s > 0 for s in stages]
        expected = features[0] * voxels[0]
        expected += sum(features[s] * voxels[s] * (2 * found.encoder_blocks[s] + changes[s]) for s in stages)
        expected += sum(2 * features[s] * voxels[s] for s in stages[:-1])
    expected += heads * voxels[0]
    assert counted_elements(build(found), torch.zeros(1, 2, *patch)) == expected


def test_number_of_parameters_of_the_plain_unet_counted_by_hand():
    # Features 4, 8 and 16; a convolution of a to b channels and k weights per channel pair has a*b*k + b parameters,
    # its norm 2b; kernel volumes 9, 27, 27; upsampling strides of 8 and 4 voxels.
    def block(a, b, k):
        return a * b * k + b + 2 * b

    encoder = block(2, 4, 9) + block(4, 4, 9) + block(4, 8, 27) + block(8, 8, 27) + block(8, 16, 27) + block(16, 16, 27)
    decoder = (16 * 8 * 8 + 8) + block(16, 8, 27) + block(8, 8, 27) + (8 * 4 * 4 + 4) + block(8, 4, 9) + block(4, 4, 9)
    heads = (8 * 3 + 3) + (4 * 3 + 3)
    assert sum(p.numel() for p in build(spec()).parameters()) == encoder + decoder + heads


def test_weights_are_he_normal_and_biases_zero():
    network = build(spec(features=(32, 64, 64)), seed=3)
    for module in network.modules():
        if isinstance(module, (nn.Conv3d, nn.ConvTranspose3d)):
            assert torch.count_nonzero(module.bias) == 0
            if module.weight.numel() > 50_000:
                fan_in = module.weight[0].numel()
                assert float(module.weight.detach().std()) == pytest.approx(math.sqrt(2 / (1 + 0.01**2) / fan_in), rel=0.02)


def test_a_fresh_residual_block_passes_what_its_skip_connection_gives():
    network = build(spec("residual_unet"))
    block = next(module for module in network.modules() if isinstance(module, ResidualBlock))
    features = torch.rand(1, 4, 4, 4, 4)
    assert torch.equal(block(features), features)


def test_the_seed_alone_decides_the_weights():
    state = torch.random.get_rng_state()
    first, second, other = build(spec(), seed=5), build(spec(), seed=5), build(spec(), seed=6)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_batch_norm_and_dropout_can_be_asked_for():
    network = build(spec(norm="batch", dropout=0.25))
    dropouts = [module for module in network.modules() if isinstance(module, nn.Dropout3d)]
    assert {module.p for module in dropouts} == {0.25}
    assert len(dropouts) == 10
    assert sum(isinstance(module, nn.BatchNorm3d) for module in network.modules()) == 10


def test_one_stage_without_pooling_still_has_an_output():
    single = spec(features=(4,), kernels=((3, 3, 3),), strides=((1, 1, 1),), encoder_blocks=(2,), decoder_blocks=())
    outputs = build(single)(torch.zeros(1, 2, 3, 5, 7))
    assert [tuple(output.shape) for output in outputs] == [(1, 3, 3, 5, 7)]
    assert decoder_levels(single) == 1


def test_every_part_has_its_place_for_weights_of_nnunet():
    names = set(build(spec()).state_dict())
    assert {"encoder.stages.0.convs.0.conv.weight", "encoder.stages.0.convs.1.norm.bias"} <= names
    assert {"decoder.transpconvs.0.weight", "decoder.stages.0.convs.1.conv.bias", "decoder.heads.1.weight"} <= names
    decoder = build(spec()).decoder
    assert isinstance(decoder, Decoder)
    assert decoder.heads[0].in_channels == 8  # coarse to fine


def test_gradients_reach_every_parameter_when_all_outputs_count():
    network = build(spec("residual_unet"))
    sum(output.square().sum() for output in network(torch.rand(1, 2, 4, 8, 8))).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kernels": ((3, 3, 3),)}, "network.kernels: found 1 entries, expected 3"),
        ({"decoder_blocks": (2, 2, 2)}, "network.decoder_blocks: found 3 entries, expected 2"),
        ({"strides": ((1, 1), (2, 2), (2, 2))}, "network.strides.0"),
        ({"kernels": ((2, 3, 3), (3, 3, 3), (3, 3, 3))}, "odd"),
    ],
)
def test_stages_that_do_not_fit_together_are_refused(changes, message):
    with pytest.raises(PlanError, match=message):
        build(spec(**changes))


def test_an_unknown_network_is_refused_with_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'plain_unet'"):
        build(spec(kind="plain_unit"))
