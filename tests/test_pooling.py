from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch

from autoseg.data.labels import Label, LabelScheme, Region
from autoseg.losses import build_loss
from autoseg.planning.plan import TrainingSettings
from autoseg.pooling import largest_of_batch, over_batch, pooled_by, ratio

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


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 1.0])
def test_the_largest_are_those_that_sorting_finds(share):
    values = torch.randn(101, generator=torch.Generator().manual_seed(3)).abs() * 10
    expected = torch.zeros(101)
    expected[values.topk(-int(-share * 101 // 1)).indices] = 1
    assert torch.equal(largest_of_batch(values, share), expected)


def test_of_equally_large_ones_each_belongs_in_part():
    found = largest_of_batch(torch.tensor([3.0, 1.0, 1.0, 1.0, -0.0]), 0.4)
    torch.testing.assert_close(found, torch.tensor([1.0, 1 / 3, 1 / 3, 1 / 3, 0.0]))


def test_where_everything_is_zero_each_belongs_in_part():
    assert torch.equal(largest_of_batch(torch.zeros(4), 0.5), torch.full((4,), 0.5))


def test_nothing_has_no_largest():
    assert largest_of_batch(torch.zeros(0), 0.5).shape == (0,)


def test_two_shares_of_a_batch_choose_among_all_of_it():
    values = torch.rand(60, generator=torch.Generator().manual_seed(1))
    shares = [values[:17], values[17:]]
    barrier, sums = Barrier(2), {}

    def choose(rank):
        def pool(own):
            sums[rank] = own
            barrier.wait()
            total = sums[0] + sums[1]
            barrier.wait()
            return total

        with pooled_by(pool):
            return largest_of_batch(shares[rank], 0.25)

    with ThreadPoolExecutor(2) as threads:
        found = torch.cat(list(threads.map(choose, range(2))))
    assert torch.equal(found, largest_of_batch(values, 0.25))
    assert found.sum() == 15
