"""What autoseg relies on in a network."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from autoseg.networks.unet import NETWORKS, NetworkBuilder, decoder_levels
from autoseg.planning.plan import NetworkSpec
from autoseg.testing.promise import named, require

_BATCH, _CHANNELS, _OUTPUTS, _EDGE = 2, 2, 3, 16


def check_network(network: str | NetworkBuilder) -> None:
    """Try a network in 2-D and 3-D: its outputs with and without deep supervision, gradients, and stored weights."""
    builder: NetworkBuilder = named("network", network, NETWORKS)
    for dimensions in (2, 3):
        spec = NetworkSpec(
            kind=network if isinstance(network, str) else "given",
            features=(4, 8, 16),
            kernels=((3,) * dimensions,) * 3,
            strides=((1,) * dimensions, (2,) * dimensions, (2,) * dimensions),
            encoder_blocks=(1, 1, 1),
            decoder_blocks=(1, 1),
        )
        image = torch.randn(_BATCH, _CHANNELS, *(_EDGE,) * dimensions, generator=torch.Generator().manual_seed(0))
        _check_outputs(_built(builder, spec, dimensions, deep_supervision=True), image, levels=decoder_levels(spec))
        _check_gradients(_built(builder, spec, dimensions, deep_supervision=True), image)
        _check_weights([_built(builder, spec, dimensions, deep_supervision=False) for _ in range(2)], image)


def _built(builder: NetworkBuilder, spec: NetworkSpec, dimensions: int, *, deep_supervision: bool) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = builder(
            spec,
            dimensions=dimensions,
            in_channels=_CHANNELS,
            out_channels=_OUTPUTS,
            deep_supervision=deep_supervision,
        )
    require(isinstance(built, nn.Module), f"the builder must return an nn.Module; it returned {type(built).__name__}")
    kept = getattr(built, "deep_supervision", None)
    require(
        kept is deep_supervision,
        f"the network must keep `deep_supervision` as an attribute; found {kept} for {deep_supervision}",
    )
    return built


def _check_outputs(network: nn.Module, image: Tensor, *, levels: int) -> None:
    network = network.eval()
    outputs = network(image)
    require(isinstance(outputs, list), "with deep supervision the network must return a list of logits, finest first")
    require(len(outputs) == levels, f"with deep supervision {levels} outputs are expected, found {len(outputs)}")
    expected = (_BATCH, _OUTPUTS, *image.shape[2:])
    require(outputs[0].shape == expected, f"the first output must be {expected}, found {tuple(outputs[0].shape)}")
    for finer, coarser in pairwise(outputs):
        shrinks = all(b <= a for a, b in zip(finer.shape[2:], coarser.shape[2:], strict=True))
        require(shrinks, f"outputs must come finest first; {tuple(coarser.shape)} follows {tuple(finer.shape)}")
        require(
            coarser.shape[:2] == expected[:2], f"every output must have {_OUTPUTS} channels, found {tuple(coarser.shape)}"
        )
    network.deep_supervision = False  # type: ignore[assignment]
    alone = network(image)
    require(
        isinstance(alone, Tensor), "with `deep_supervision` set to False the network must return the finest logits alone"
    )
    require(torch.equal(alone, outputs[0]), "the finest logits must not depend on `deep_supervision`")
    require(torch.isfinite(alone).all(), "the logits of a fresh network must be finite")


def _check_gradients(network: nn.Module, image: Tensor) -> None:
    torch.stack([output.square().mean() for output in network.train()(image)]).sum().backward()  # type: ignore[no-untyped-call]
    gradients = {name: parameter.grad for name, parameter in network.named_parameters() if parameter.requires_grad}
    require(gradients, "the network has no parameter that can be trained")
    unused = [name for name, gradient in gradients.items() if gradient is None]
    require(not unused, f"parameters without a gradient: {', '.join(unused)}. Remove what does not take part")
    wrong = [name for name, gradient in gradients.items() if gradient is not None and not torch.isfinite(gradient).all()]
    require(not wrong, f"gradients that are not finite: {', '.join(wrong)}")


def _check_weights(twice: Sequence[nn.Module], image: Tensor) -> None:
    from safetensors.torch import load, save

    first, second = (network.eval() for network in twice)
    same = all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    require(same, "initial weights must come from torch's generator alone: one seed gave two networks")
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.add_(1)
    try:
        second.load_state_dict(load(save(first.state_dict())))
    except RuntimeError as error:
        raise AssertionError(f"weights must survive being stored, without tensors that share memory: {error}") from error
    require(torch.equal(first(image), second(image)), "the weights must be all that decides what a network predicts")
