import pytest
import torch

from autoseg.data.labels import Label, LabelScheme, Region
from autoseg.losses import build_loss
from autoseg.planning.plan import TrainingSettings
from autoseg.pooling import over_batch, pooled_by, ratio

LABELS = LabelScheme(labels=tuple(Label(name=name, value=value) for value, name in enumerate("abc")), ignore=9)
REGIONS = LABELS.model_copy(
    update={
        "regions": (Region(name="whole", values=(1, 2), writes=1), Region(name="core", values=(2,), writes=2)),
        "target": "regions",
    }
)


def test_alone_a_sum_stays_as_it_is():
    values = torch.arange(3.0)
    assert over_batch(values) is values
    with pooled_by(lambda sums: 2 * sums):
        assert torch.equal(over_batch(values), 2 * values)
    assert over_batch(values) is values


def test_a_ratio_of_nothing_is_nothing():
    assert ratio(torch.tensor(0.0), torch.tensor(0)) == 0
    with pooled_by(lambda sums: sums + torch.tensor([3.0, 6.0])):
        assert ratio(torch.tensor(0.0), torch.tensor(0)) == 0.5


@pytest.mark.parametrize(
    ("loss", "labels", "weights"),
    [
        ("dice", LABELS, None),
        ("ce", LABELS, None),
        ("ce", LABELS, (1.0, 2.0, 5.0)),
        ("tversky", LABELS, None),
        ("focal", LABELS, (1.0, 2.0, 5.0)),
        ("dice", REGIONS, None),
        ("bce", REGIONS, None),
        ("bce", REGIONS, (1.0, 3.0)),
    ],
)
def test_two_shares_of_a_batch_give_the_loss_of_the_whole_one(loss, labels, weights):
    logits = torch.randn(4, 3 if labels is LABELS else 2, 5, 5, generator=torch.Generator().manual_seed(0))
    target = torch.randint(0, 4, (4, 5, 5), generator=torch.Generator().manual_seed(1))
    target[2:, :3] = labels.ignore_class
    chosen = build_loss(
        loss,
        labels=labels,
        batch_dice=True,
        deep_supervision_levels=1,
        settings=TrainingSettings(class_weights=weights),
    )
    elsewhere = []

    def kept(sums):
        elsewhere.append(sums)
        return sums

    with pooled_by(kept):
        chosen([logits[2:]], target[2:])
    waiting = iter(elsewhere)
    with pooled_by(lambda sums: sums + next(waiting)):
        pooled = chosen([logits[:2]], target[:2])
    assert float(pooled) == pytest.approx(float(chosen([logits], target)), abs=1e-6)
