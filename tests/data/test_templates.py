from pathlib import Path

import numpy as np
import pytest

from autoseg.data.labels import LabelScheme, train_on_regions
from autoseg.data.layouts import LAYOUTS
from autoseg.data.templates import load_template, template_names, templates_for
from autoseg.errors import ArtefactError, UnknownNameError

REQUIRED = {
    "msd_task01_braintumour",
    "msd_task02_heart",
    "msd_task03_liver",
    "msd_task04_hippocampus",
    "msd_task05_prostate",
    "msd_task06_lung",
    "msd_task07_pancreas",
    "msd_task08_hepaticvessel",
    "msd_task09_spleen",
    "msd_task10_colon",
    "brats2017-2020",
    "brats2021",
    "brats2023_gli",
    "hippocampus",
    "generic_2d",
}


def test_the_known_data_sets_have_templates() -> None:
    assert set(template_names()) >= REQUIRED


@pytest.mark.parametrize("name", template_names())
def test_a_template_is_named_after_its_file_and_holds_together(name: str) -> None:
    template = load_template(name)
    assert template.name == name
    assert template.layout in LAYOUTS
    if template.labels:
        LabelScheme(labels=template.labels, regions=template.regions, target=template.target)
    if template.layout == "brats":
        assert all(channel.suffixes for channel in template.channels)
        assert template.label_suffixes
    if template.expected.score is not None:
        assert all(0 < dice < 1 for dice in template.expected.score.dice.values())
        assert template.expected.score.source


@pytest.mark.parametrize("name", ["brats2017-2020", "brats2021", "brats2023_gli", "msd_task01_braintumour"])
def test_brain_tumour_regions_give_every_label_back(name: str) -> None:
    template = load_template(name)
    scheme = train_on_regions(LabelScheme(labels=template.labels, regions=template.regions))
    classes = np.arange(len(template.labels))
    assert [region.name for region in scheme.regions] == ["WT", "TC", "ET"]
    np.testing.assert_array_equal(scheme.paint(scheme.region_masks(classes)), classes)


def test_the_brats_years_share_channel_names_so_that_models_fit_all_of_them() -> None:
    names = {tuple(channel.name for channel in template.channels) for template in templates_for("brats")}
    assert names == {("flair", "t1", "t1ce", "t2")}


def test_an_unknown_template_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown template 'brats2020'\. Did you mean 'brats2021'"):
        load_template("brats2020")


def test_a_template_may_be_a_file_of_ones_own(tmp_path: Path) -> None:
    own = load_template("brats2021").model_copy(update={"name": "own"})
    (tmp_path / "own.json").write_text(own.model_dump_json())
    assert load_template(str(tmp_path / "own.json")) == own
    (tmp_path / "own.json").write_text('{"name": "own"}')
    with pytest.raises(ArtefactError, match=r"own\.json: title: missing"):
        load_template(str(tmp_path / "own.json"))
