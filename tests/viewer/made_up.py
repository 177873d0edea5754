"""Small cases to view, and the answers of a running server."""

import http.client
import json
import threading
from contextlib import contextmanager
from urllib.parse import urlsplit

import numpy as np

from autoseg.data.readers import write_image, write_labels
from autoseg.prediction.report import CasePrediction, PredictionReport, Uncertainty
from tests.report.made_up import GRID, SHAPE, tumour


def write_patient(folder, *, seed=0):
    """A patient as BraTS 2018 has them: four sequences and a segmentation."""
    rng = np.random.default_rng(seed)
    for number, sequence in enumerate(("flair", "t1", "t1ce", "t2")):
        voxels = (100 * (number + 1) + 10 * rng.random(size=SHAPE)).astype(np.int16)
        write_image(folder / f"{folder.name}_{sequence}.nii.gz", voxels[None], GRID)
    write_labels(folder / f"{folder.name}_seg.nii.gz", tumour(), GRID)
    return folder


def write_set(root, ids="abc", *, shifts=(0, 1, 2)):
    """Images, references and predictions in folders of their own; each prediction is moved by its shift."""
    rng = np.random.default_rng(0)
    for case, shift in zip(ids, shifts, strict=True):
        voxels = (50 + 20 * rng.random(size=SHAPE) + 20 * tumour()).astype(np.float32)
        write_image(root / "images" / f"{case}.nii.gz", voxels[None], GRID)
        write_labels(root / "references" / f"{case}.nii.gz", tumour(), GRID)
        write_labels(root / "predictions" / f"{case}.nii.gz", tumour(shift), GRID)
        heat = (tumour() > 0).astype(np.float32) * 0.5
        write_image(root / "maps" / f"{case}_entropy.nii.gz", heat[None], GRID)
    return root


def predicted_report(labels, *, review=None, sureness=None):
    """What a run of predictions leaves behind; `sureness` is the expected Dice of each structure, by case."""
    cases = [
        CasePrediction(
            id=case_id,
            file=f"{case_id}.nii.gz",
            probabilities=None,
            skipped=False,
            seconds={},
            volumes_ml={},
            way=None,
            uncertainty={name: _unsure(value) for name, value in structures.items()},
            error=None,
        )
        for case_id, structures in (sureness or {}).items()
    ]
    return PredictionReport(
        models=("m",),
        configurations=("3d_fullres",),
        folds=("0",),
        step=0.5,
        mirroring="none",
        single_window=False,
        precision="fp32",
        device="cpu",
        channels=("flair",),
        outputs=labels.output_names,
        labels=labels,
        notes=(),
        rules=(),
        seconds=1.0,
        cases=tuple(cases),
        review=review or {},
        made_from={},
    )


def _unsure(expected_dice):
    return Uncertainty(
        volume_ml=1.0,
        members=2,
        found_by=2,
        volume_sd_ml=None,
        volume_min_ml=None,
        volume_max_ml=None,
        entropy_bits=0.25,
        border_entropy_bits=0.5,
        expected_dice=expected_dice,
    )


@contextmanager
def answering(serving):
    """The server answers in a thread until the end."""
    thread = threading.Thread(target=serving.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield serving
    finally:
        serving.server.shutdown()
        serving.server.server_close()
        thread.join()


def ask(serving, target, *, method="GET", headers=None):
    """Status, headers and content for a request line sent as it is, by default with the right Host."""
    port = serving.server.server_address[1]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest(method, target, skip_host=True)
    for name, value in {"Host": f"127.0.0.1:{port}"}.items() if headers is None else headers:
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return found


def secret_of(serving):
    """The secret part of the address."""
    return urlsplit(serving.address).path


def ask_json(serving, name):
    """What stands under a name, as JSON."""
    status, _, content = ask(serving, secret_of(serving) + name)
    assert status == 200, content
    return json.loads(content)
