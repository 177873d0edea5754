from pathlib import Path

import pytest

from autoseg.data.layouts import find_dataset, recognise
from autoseg.errors import DatasetError, UnknownNameError
from tests.data.scans import a_label_map, a_scan, write_decathlon, write_nnunet, write_patient


def test_a_folder_that_is_no_data_set_says_what_each_layout_missed(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DatasetError) as caught:
        recognise(tmp_path)
    message = str(caught.value)
    assert f"{tmp_path}: not a data set. Layouts tried, and what each missed:" in message
    assert "nnunet: no dataset.json" in message
    assert "msd: no dataset.json" in message
    assert "brats: no patients' folders with files that end in -t2f/-t1n/-t1c/-t2w or _flair/_t1/_t1ce/_t2" in message
    assert "listing: none of the files cases.csv" in message
    assert "pictures: no folder images" in message


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"gone: not found"):
        recognise(tmp_path / "gone")


def test_an_unknown_template_is_refused_before_the_folder_is_read(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown template 'hipocampus'\. Did you mean 'hippocampus'"):
        recognise(tmp_path, template="hipocampus")


def test_with_a_template_only_its_layout_is_tried(tmp_path: Path) -> None:
    write_decathlon(tmp_path)
    with pytest.raises(DatasetError) as caught:
        recognise(tmp_path, template="brats2021")
    assert "not a data set as the template 'brats2021' expects it" in str(caught.value)
    assert "msd:" not in str(caught.value)


def test_a_folder_is_matched_with_its_template_by_name_and_the_template_adds_what_the_files_lack(tmp_path: Path) -> None:
    labels = {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"}
    found = recognise(write_decathlon(tmp_path / "Task01_BrainTumour", channels=4, labels=labels, licence=None))
    assert found.template == "msd_task01_braintumour"
    assert found.mirror_axes == (0, 1, 2)
    assert {region.name: region.values for region in found.labels.regions} == {"WT": (1, 2, 3), "TC": (2, 3), "ET": (3,)}
    assert found.labels.target == "labels"
    assert found.channels == ("MR0", "MR1", "MR2", "MR3")
    assert found.reference == "A hospital"
    assert found.licence == "CC BY-SA 4.0"


def test_a_folder_with_a_known_name_but_other_labels_gets_no_template(tmp_path: Path) -> None:
    found = recognise(write_decathlon(tmp_path / "Task01_BrainTumour", channels=4))
    assert found.template is None
    assert found.mirror_axes is None


def test_the_labels_of_dataset_json_win_over_a_template_named_by_the_user(tmp_path: Path) -> None:
    found = recognise(write_decathlon(tmp_path / "mine", channels=4), template="msd_task01_braintumour")
    assert found.template == "msd_task01_braintumour"
    assert [label.name for label in found.labels.labels] == ["background", "organ"]
    assert found.labels.regions == ()


def test_part_of_the_hippocampus_data_under_any_name_is_recognised_by_its_own_name(tmp_path: Path) -> None:
    labels = {"0": "background", "1": "Anterior", "2": "Posterior"}
    elsewhere = recognise(write_decathlon(tmp_path / "part", name="Hippocampus", labels=labels))
    as_published = recognise(write_decathlon(tmp_path / "Task04_Hippocampus", name="Hippocampus", labels=labels))
    assert elsewhere.template == "hippocampus"
    assert as_published.template == "msd_task04_hippocampus"


def test_a_decathlon_task_converted_for_nnunet_keeps_its_template(tmp_path: Path) -> None:
    labels = {"background": 0, "Anterior": 1, "Posterior": 2}
    folder = write_nnunet(tmp_path / "Dataset004_Hippocampus", channels=1, labels=labels)
    assert recognise(folder).template == "msd_task04_hippocampus"
    assert recognise(folder, template="msd_task04_hippocampus").layout == "nnunet"


def test_the_name_is_the_folder_s_unless_another_is_given(tmp_path: Path) -> None:
    write_patient(tmp_path / "brains/p1", {"_flair": a_scan(), "_t1": a_scan(), "_seg": a_label_map()})
    assert recognise(tmp_path / "brains").name == "brains"
    assert recognise(tmp_path / "brains", name="other").name == "other"


def test_the_root_is_absolute_so_that_the_data_set_is_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_decathlon(tmp_path / "sound")
    monkeypatch.chdir(tmp_path)
    assert recognise(Path("sound")).folder == tmp_path / "sound"
    assert recognise(Path("sound")).name == "sound"


def test_a_data_set_is_found_by_path_by_name_here_and_under_the_folder_of_raw_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("here/near", "raw/Task04_Hippocampus"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("AUTOSEG_RAW", str(tmp_path / "raw"))
    assert find_dataset(str(tmp_path / "raw/Task04_Hippocampus")) == tmp_path / "raw/Task04_Hippocampus"
    assert find_dataset("near").resolve() == tmp_path / "here/near"
    assert find_dataset("Task04_Hippocampus") == tmp_path / "raw/Task04_Hippocampus"
    with pytest.raises(
        DatasetError, match=r"no data set 'Task4_Hippocampus' in .*here and .*raw\. Did you mean 'Task04_Hip"
    ):
        find_dataset("Task4_Hippocampus")


@pytest.mark.real_data
def test_the_real_data_sets_are_recognised(shared_data: Path) -> None:
    hippocampus = recognise(shared_data / "Task04_Hippocampus")
    assert (hippocampus.layout, hippocampus.template) == ("msd", "msd_task04_hippocampus")
    assert (len(hippocampus.cases), len(hippocampus.test_cases)) == (130, 30)
    assert all(case.label is not None for case in hippocampus.test_cases)
    glioma = recognise(shared_data / "BraTS2018")
    assert (glioma.layout, glioma.template, len(glioma.cases)) == ("brats", "brats2017-2020", 8)
    assert [label.value for label in glioma.labels.labels] == [0, 1, 2, 4]
    assert {region.name: region.writes for region in glioma.labels.regions} == {"WT": 2, "TC": 1, "ET": 4}
    cells = recognise(shared_data / "em_membrane_2d")
    assert (cells.layout, cells.channels, len(cells.cases)) == ("pictures", ("grey",), 30)
    assert [label.value for label in cells.labels.labels] == [0, 255]


@pytest.mark.real_data
def test_a_folder_of_many_data_sets_is_none(shared_data: Path) -> None:
    with pytest.raises(DatasetError, match="here or in each folder one level below, but the folder"):
        recognise(shared_data)
