import pytest

from autoseg.artefacts import digest, load
from autoseg.benchmark.matrix import Budget, combinations, compare, gflop_of, training_of, wanted_row
from autoseg.benchmark.setting import setting_of
from autoseg.benchmark.step import timed_steps
from autoseg.data.phantom import write_phantom
from autoseg.errors import BenchmarkError
from autoseg.planning.plan import Plan
from autoseg.planning.run import plan
from autoseg.training.model_folder import open_model
from autoseg.workspace import open_workspace


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("matrix")
    data = write_phantom(place, cases=7, shape=(24, 24, 24))
    workspace = open_workspace(place / "workspace")
    return workspace.dataset(plan(data, workspace=workspace).dataset)


@pytest.fixture(scope="module")
def made(folder):
    return load(Plan, folder.plan_file, remake="autoseg_plan DATASET")


def test_each_recipe_goes_with_the_configurations_of_its_dimensions(made):
    assert combinations(made, ["2d", "3d_fullres"], []) == [("2d", None), ("3d_fullres", None)]
    found = combinations(made, ["2d", "3d_fullres"], ["unet2d_ce", "nnunet"])
    assert found == [("2d", "unet2d_ce"), ("2d", "nnunet"), ("3d_fullres", "nnunet")]
    assert combinations(made, ["2d"], ["default", "nnunet"]) == [("2d", None), ("2d", "nnunet")]


def test_a_recipe_that_fits_no_configuration_is_refused(made):
    with pytest.raises(BenchmarkError, match="2 dimensions; none of 3d_fullres is"):
        combinations(made, ["3d_fullres"], ["unet2d_ce"])


def test_operations_are_those_worked_out_by_hand(made):
    found = gflop_of(made, "3d_fullres")
    assert found > 0
    doubled = made.configurations["3d_fullres"].model_copy(update={"batch_size": 4})
    again = made.model_copy(update={"configurations": {**made.configurations, "3d_fullres": doubled}})
    assert gflop_of(again, "3d_fullres") == found  # of one patch, whatever the batch


def test_steps_are_timed_with_their_waiting(folder):
    setting = setting_of(folder, "3d_fullres", settings=["3d_fullres.batch_size=2"], device="cpu", threads=1)
    from autoseg.benchmark.setting import prepared

    prepared(setting)
    times = timed_steps(setting, steps=2)
    assert len(times.seconds) == len(times.waited) == 2
    assert all(0 <= waited <= seconds for seconds, waited in zip(times.seconds, times.waited, strict=True))


def test_the_same_budget_with_other_settings_trains_another_model(folder):
    budget = Budget(seconds=300.0, iterations=None, seed=0)
    settings = ([], ["training.loss=dice_topk_ce"])
    found = [
        training_of(
            wanted_row(
                setting_of(folder, "2d", settings=some, device="cpu", threads=1),
                "2d",
                recipe=None,
                folds=["0", "1"],
                budget=budget,
            )
        )
        for some in settings
    ]
    assert found[0].name != found[1].name
    assert "training.loss=dice_topk_ce" in found[1].settings
    assert [one.time_budget_s for one in found] == [600.0, 600.0]  # each fold has the whole budget


@pytest.mark.slow
def test_a_comparison_goes_on_where_it_was_and_a_failed_row_leaves_the_others(folder):
    setting = setting_of(folder, "2d", device="cpu", threads=1)
    wanted = [("2d", None), ("2d", "no_such_recipe")]
    budget = Budget(seconds=None, iterations=2, seed=0)
    first = compare(setting, wanted, folds=["0"], budget=budget)
    assert first.rows[0].failed is None
    assert first.rows[0].steps == 2
    assert first.rows[0].parameters is not None
    assert "no_such_recipe" in (first.rows[1].failed or "")
    again = compare(setting, wanted[:1], folds=["0"], budget=budget)
    assert again.rows[0] == first.rows[0]


@pytest.mark.slow
def test_settings_reach_the_training_and_a_recipe_for_labels_is_scored_in_the_regions_of_the_data_set(folder):
    small = ["3d_fullres.patch_size=16,16,16", "3d_fullres.network.features=4,8,8", "training.mirror_axes=[]"]
    setting = setting_of(folder, "3d_fullres", settings=small, device="cpu", threads=1)
    budget = Budget(seconds=None, iterations=1, seed=0)
    table = compare(setting, [("3d_fullres", "isensee2017"), ("3d_fullres", None)], folds=["0"], budget=budget)
    assert [row.failed for row in table.rows] == [None, None]
    assert set(table.rows[0].scores) == set(table.rows[1].scores) == {"WT", "TC", "ET"}
    wanted = wanted_row(setting, "3d_fullres", recipe=None, folds=["0"], budget=budget)
    trained = open_model(folder.models / f"benchmark_{digest(wanted)}")
    assert trained.configuration.patch_size == (16, 16, 16)
    assert trained.configuration.network.features == (4, 8, 8)
    assert trained.plan.training.mirror_axes == ()
