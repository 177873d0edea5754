"""A network on a device with little memory: it refuses to keep more activations for its gradient than fit."""

import torch

from autoseg.networks.unet import plain_unet

room = {"bytes": 0}


class Hungry(torch.nn.Module):
    """A U-Net whose saved activations are counted; too many raise what CUDA raises."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.deep_supervision = inner.deep_supervision

    def forward(self, image):
        kept = 0

        def pack(tensor):
            nonlocal kept
            kept += tensor.nbytes
            if kept > room["bytes"]:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            return self.inner(image)


def unet(spec, *, dimensions, in_channels, out_channels, deep_supervision):
    return Hungry(
        plain_unet(
            spec,
            dimensions=dimensions,
            in_channels=in_channels,
            out_channels=out_channels,
            deep_supervision=deep_supervision,
        )
    )
