"""A trained network as an ONNX graph, with a JSON file of everything that has to be done around it."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from autoseg.artefacts import FROZEN, save, written_whole
from autoseg.data.labels import LabelScheme
from autoseg.errors import PredictionError, number_of
from autoseg.interchange.file_digest import file_digest
from autoseg.planning.plan import Normalisation, Resampling
from autoseg.prediction.ensemble import Member, open_ensemble

ONNX_FORMAT = 1
OPSET = 18
INPUT, OUTPUT = "image", "logits"
MOST_BYTES = 2**31 - 2**20
"""A graph is one protobuf message, which holds less than 2 GiB."""

Activation = Literal["softmax", "sigmoid"]


class OnnxCard(BaseModel):
    """What surrounds a graph, in the order in which it is applied; axes are (z, y, x), a 2-D network has (y, x).

    An image (channel, z, y, x) with `channels` is turned to `orientation` (None: left as stored), its axes are permuted by
    `transpose`, it is cropped to the box of everything that is not zero in some channel, each channel is normalised, and
    it is resampled to `spacing_mm` (2-D: slices keep their distance). Windows of `patch_size` that overlap by 1 - `step` at
    least go through the graph; with `mirror_axes` (0 = z) also mirrored along each subset of them and back, and the mean
    is taken. Windows are averaged with the weight of a Gaussian whose deviation is `window_sigma` of the patch. The logits
    are resampled to the cropped grid, and `activation` and `labels` say what they mean.

    `input` is (batch, channel, *patch_size), `output` (batch, output channel, *patch_size), both float32. In a cascade the
    image's channels are followed by a mask per foreground label of what the graph of `previous_stage` found.
    """

    model_config = FROZEN
    format: int = ONNX_FORMAT
    autoseg_version: str
    dataset: str
    configuration: str
    folds: tuple[str, ...]
    graph: str
    graph_sha256: str
    opset: int = OPSET
    input: str = INPUT
    input_channels: int
    output: str = OUTPUT
    output_names: tuple[str, ...]
    channels: tuple[str, ...]
    orientation: str | None
    transpose: tuple[int, int, int]
    normalisation: tuple[Normalisation, ...]
    spacing_mm: tuple[float, ...]
    resampling: Resampling
    patch_size: tuple[int, ...]
    step: float = 0.5
    mirror_axes: tuple[int, ...]
    window_sigma: float = 0.125
    activation: Activation
    labels: LabelScheme
    previous_stage: "OnnxCard | None" = None


class _MeanOfFolds(nn.Module):
    """The mean logits of several networks of one configuration."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, output channel, *patch) of the image (B, channel, *patch)."""
        total: Tensor = self.networks[0](image)
        for network in self.networks[1:]:
            total = total + network(image)
        return total / len(self.networks)


def export_onnx(folder: Path, file: Path, *, folds: Sequence[str] = ()) -> list[Path]:
    """Write the networks of the model in `folder` as one graph to `file`, and what surrounds it to the same name in .json.

    `folds` (none: all trained) are averaged in the graph; the batch may have any size. The first stage of a cascade goes to
    a graph of its own, NAME_CONFIGURATION.onnx. Returns the files, the JSON last. Raises PredictionError where the extra
    "onnx" is not installed or the graph would exceed 2 GiB.
    """
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise PredictionError(f"--onnx needs {' and '.join(missing)}, not installed. Run: pip install 'autoseg[onnx]'")
    ensemble = open_ensemble([folder], folds=folds)
    graphs, card = _stage(ensemble.members[0], file, folds=ensemble.folds)
    description = file.with_suffix(".json")
    save(card, description)
    return [*graphs, description]


def _stage(member: Member, file: Path, *, folds: Sequence[str]) -> tuple[list[Path], OnnxCard]:
    """Write the graphs of `member` and of the stages before it; the last is its own."""
    earlier: list[Path] = []
    previous = None
    if member.previous is not None:
        name = f"{file.stem}_{member.previous.configuration.name}{file.suffix}"
        earlier, previous = _stage(member.previous, file.with_name(name), folds=_numbered(member.previous))
    _write_graph(member, file)
    return [*earlier, file], _card(member, file, folds=folds, previous=previous)


def _numbered(member: Member) -> tuple[str, ...]:
    return tuple(str(index) for index in range(len(member.networks)))


def _card(member: Member, file: Path, *, folds: Sequence[str], previous: OnnxCard | None) -> OnnxCard:
    plan, one = member.plan, member.configuration
    return OnnxCard(
        autoseg_version=version("autoseg"),
        dataset=plan.dataset,
        configuration=one.name,
        folds=tuple(folds),
        graph=file.name,
        graph_sha256=file_digest(file),
        input_channels=plan.input_channels(one),
        output_names=plan.labels.output_names,
        channels=plan.channels,
        orientation=plan.orientation,
        transpose=plan.transpose_forward,
        normalisation=one.normalisation,
        spacing_mm=one.spacing_mm,
        resampling=one.resampling,
        patch_size=one.patch_size,
        mirror_axes=plan.training.mirror_axes,
        activation="sigmoid" if plan.labels.target == "regions" else "softmax",
        labels=plan.labels,
        previous_stage=previous,
    )


def _write_graph(member: Member, file: Path) -> None:
    network = _MeanOfFolds(member.networks).eval()
    size = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    if size > MOST_BYTES:
        raise PredictionError(
            f"{file}: {number_of(len(member.networks), 'fold')} with {size / 2**30:.1f} GiB of weights, more than a graph "
            "holds. Choose one fold with -f."
        )
    patch = (1, member.plan.input_channels(member.configuration), *member.configuration.patch_size)
    with _silence(), torch.no_grad():
        program = torch.onnx.export(
            network,
            (torch.zeros(patch),),
            dynamo=True,
            verbose=False,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            opset_version=OPSET,
        )
    assert program is not None, "the exporter returns a program"
    with written_whole(file) as target:
        target.write(program.model_proto.SerializeToString())


@contextmanager
def _silence() -> Iterator[None]:
    """Without what torch's exporter has to say about itself: its own deprecated parts, operators of torchvision."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
