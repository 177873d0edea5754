import pytest

from autoseg.augmentation.policy import POLICIES
from autoseg.data.labels import Label, LabelScheme, Region, train_on_regions
from autoseg.errors import PlanError, TrainingError
from autoseg.losses import LOSSES, build_loss
from autoseg.networks.unet import NETWORKS
from autoseg.planning import names
from autoseg.training.optim import OPTIMISERS, SCHEDULES

CLASSES = LabelScheme(labels=tuple(Label(name=name, value=value) for value, name in enumerate(("background", "a", "b"))))
REGIONS = train_on_regions(
    LabelScheme(labels=CLASSES.labels, regions=(Region(name="whole", values=(1, 2)), Region(name="core", values=(2,))))
)


def test_the_names_known_at_plan_time_are_those_of_the_tables():
    assert set(names.NETWORKS) == set(NETWORKS)
    assert set(names.LOSSES) == set(LOSSES)
    assert set(names.OPTIMISERS) == set(OPTIMISERS)
    assert set(names.SCHEDULES) == set(SCHEDULES)
    assert set(names.POLICIES) == set(POLICIES)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("labels", [CLASSES, REGIONS], ids=["classes", "regions"])
def test_a_loss_is_refused_at_plan_time_where_it_would_be_in_training(name, labels):
    try:
        build_loss(name, labels=labels, batch_dice=False, deep_supervision_levels=1)
    except TrainingError:
        with pytest.raises(PlanError, match="does not fit a plan that trains on"):
            names.check_loss(name, labels.target)
    else:
        names.check_loss(name, labels.target)
