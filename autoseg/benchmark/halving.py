"""The networks that benchmarks make up."""

from autoseg.planning.plan import NetworkSpec


def halving_unet(features: tuple[int, ...], *, blocks: int) -> NetworkSpec:
    """A plain 3-D U-Net that halves every axis from stage to stage, with so many convolutions in each."""
    stages = len(features)
    return NetworkSpec(
        kind="plain_unet",
        features=features,
        kernels=((3, 3, 3),) * stages,
        strides=((1, 1, 1),) + ((2, 2, 2),) * (stages - 1),
        encoder_blocks=(blocks,) * stages,
        decoder_blocks=(blocks,) * (stages - 1),
    )
