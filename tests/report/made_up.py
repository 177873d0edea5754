"""A small evaluated data set, with the folder of a model as a training leaves it."""

import json

import numpy as np

from autoseg.artefacts import save
from autoseg.data.dataset import Case, Dataset
from autoseg.data.image import Geometry
from autoseg.data.readers import write_image, write_labels
from autoseg.data.splits import Fold, Splits
from autoseg.evaluation.run import evaluate
from autoseg.training.model_folder import FoldCard, ModelCard
from autoseg.workspace import open_workspace
from tests.brats import BRATS

SHAPE = (8, 12, 10)
GRID = Geometry(SHAPE, (3.0, 1.0, 1.0), np.diag([1.0, 1.0, 3.0, 1.0]))


def tumour(shift=0, *, core=4):
    """A block of edema with a core in it, moved along x."""
    found = np.zeros(SHAPE, dtype=np.uint8)
    found[2:6, 3:9, 2 + shift : 7 + shift] = 2
    found[3:5, 4:7, 3 + shift : 5 + shift] = core
    return found


def write_cases(root):
    """Four cases with images and labels; the data set that holds them."""
    rng = np.random.default_rng(0)
    for case in "abcd":
        write_labels(root / "labels" / f"{case}.nii.gz", tumour(), GRID)
        write_image(
            root / "images" / f"{case}.nii.gz", (1 + rng.normal(size=(1, *SHAPE)) + tumour()).astype(np.float32), GRID
        )
    cases = tuple(Case(id=case, images=(f"images/{case}.nii.gz",), label=f"labels/{case}.nii.gz") for case in "abcd")
    return Dataset(name="d", root=str(root), layout="list", template=None, channels=("flair",), labels=BRATS, cases=cases)


def planned_and_trained(root, *, epochs=3):
    """A workspace with a model of two folds whose held-out cases were predicted; the data set's folder and the model's."""
    dataset = write_cases(root / "raw")
    workspace = open_workspace(root / "workspace")
    folder = workspace.dataset("d")
    save(dataset, folder.dataset_file)
    folder.plan_file.write_text("{}")
    workspace.remember("d")
    model = folder.model("m")
    card = ModelCard(
        name="m", dataset="d", configuration="3d_fullres", autoseg_version="9.9", made_from={"dataset": "ffff"}
    )
    save(card, model / "model.json")
    halves = ("a", "b"), ("c", "d")
    splits = Splits(folds=tuple(Fold(train=halves[1 - fold], validation=halves[fold]) for fold in (0, 1)))
    save(splits, model / "splits.json")
    for fold, cases in (("0", "ab"), ("1", "cd")):
        place = model / f"fold_{fold}"
        save(_fold_card(fold, epochs), place / "fold.json")
        rows = [_epoch(index) for index in range(epochs)]
        (place / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        for shift, case in enumerate(cases):
            held_out = place / "validation" / f"{case}.nii.gz"
            write_labels(held_out, tumour(shift if fold == "0" else shift + 2, core=1 if case == "d" else 4), GRID)
        evaluate_again(root, place / "validation", cases)
    return folder, model


def evaluate_again(root, folder, cases):
    """Evaluate the predictions of these cases, and write what they are worth beside them."""
    references = {case: root / "raw" / "labels" / f"{case}.nii.gz" for case in cases}
    evaluate(folder, lambda _: references, labels=BRATS, workers=1)


def _fold_card(fold, epochs):
    return FoldCard(
        fold=fold,
        finished=True,
        budget_s=None,
        device="cpu",
        precision="float32",
        threads=1,
        torch_version="2.0",
        parameters=1234567,
        epochs=epochs,
        steps=10 * epochs,
        seconds=77.7,
    )


def _epoch(index):
    return {
        "epoch": index,
        "learning_rate": 0.01 / (index + 1),
        "train_loss": 1 / (index + 1),
        "validation_loss": 1.2 / (index + 1),
        "mean_pseudo_dice": None if index == 0 else 0.5,
        "memory_bytes": 2**30,
    }
