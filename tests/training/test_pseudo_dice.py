import torch
import torch.nn.functional as F

from autoseg.data.labels import Label, LabelScheme, Region
from autoseg.training.pseudo_dice import dice_of, mean_of, overlap_counts

LABELS = (Label(name="bg", value=0), Label(name="a", value=1), Label(name="b", value=4))
CLASSES = LabelScheme(labels=LABELS)
REGIONS = LabelScheme(
    labels=LABELS,
    regions=(Region(name="whole", values=(1, 4), writes=1), Region(name="core", values=(4,), writes=4)),
    target="regions",
)

TARGET = torch.tensor([[0, 1, 1, 2, 2, 2]])
PREDICTED = torch.tensor([[1, 1, 0, 2, 2, 1]])


def test_counts_of_classes_worked_out_by_hand():
    logits = F.one_hot(PREDICTED, 3).movedim(-1, 1).float()
    assert overlap_counts(logits, TARGET, CLASSES).tolist() == [[1, 2], [2, 0], [1, 1]]


def test_counts_of_regions_worked_out_by_hand():
    logits = torch.stack([torch.tensor([[1.0, 1, -1, 1, 1, 1]]), torch.tensor([[-1.0, -1, -1, 1, 1, -1]])], dim=1)
    assert overlap_counts(logits, TARGET, REGIONS).tolist() == [[4, 2], [1, 0], [1, 1]]


def test_ignored_voxels_do_not_count():
    ignoring = CLASSES.model_copy(update={"ignore": 9})
    target = TARGET.clone()
    target[0, 3:] = 3
    logits = F.one_hot(PREDICTED, 3).movedim(-1, 1).float()
    assert overlap_counts(logits, target, ignoring).tolist() == [[1, 0], [1, 0], [1, 0]]


def test_dice_is_undefined_where_nothing_was_there_and_nothing_predicted():
    dice = dice_of(torch.tensor([[1, 0, 0], [1, 0, 2], [0, 0, 0]]))
    assert dice == (2 / 3, None, 0.0)
    assert mean_of(dice) == 1 / 3
    assert mean_of((None, None)) is None
