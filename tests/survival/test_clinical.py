import pytest

from autoseg.errors import SurvivalError
from autoseg.survival.clinical import Columns, read_clinical
from autoseg.survival.mapping import read_mapping

BRATS_2020 = (
    "Brats20ID,Age,Survival_days,Extent_of_Resection\nA,60.463,289,GTR\nB,52,ALIVE (361 days later),NA\nC,NA,NA,STR\n"
)


def table(tmp_path, text):
    path = tmp_path / "clinical.csv"
    path.write_text(text)
    return path


def test_a_brats_2020_table_is_read_with_its_censored_and_unknown_patients(tmp_path):
    died, alive, unknown = read_clinical(table(tmp_path, BRATS_2020), need_survival=True)
    assert (died.id, died.days, died.event) == ("A", 289.0, True)
    assert died.features == {"age_years": 60.463, "resection_gtr": 1.0, "resection_str": 0.0}
    assert (alive.days, alive.event) == (361.0, False)
    assert (unknown.days, unknown.event, unknown.features["age_years"]) == (None, None, None)


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("Brats17ID,Age,Survival", "P,70,100"),
        ("BraTS18ID,Age,Survival,ResectionStatus", "P,70,100,GTR"),
        ("BraTS19ID,Age,Survival,ResectionStatus", "P,70,100,NA"),
    ],
)
def test_the_tables_of_other_years_are_recognised(tmp_path, header, row):
    (patient,) = read_clinical(table(tmp_path, f"{header}\n{row}\n"), need_survival=True)
    assert (patient.id, patient.days, patient.event, patient.features["age_years"]) == ("P", 100.0, True, 70.0)


def test_any_table_with_time_and_event_can_be_used(tmp_path):
    text = "who,followed,dead,person,kps,sex,grade\nx1,10,1,x,90,F,IV\nx2,20,0,x,,male,LGG\n"
    columns = Columns(id="who", time="followed", group="person", more=("kps",))
    first, second = read_clinical(table(tmp_path, text), columns=columns)
    assert (first.event, second.event) == (True, False)
    assert first.group == second.group == "x"
    assert first.features == {"kps": 90.0, "sex_male": 0.0, "grade_high": 1.0}
    assert second.features == {"kps": None, "sex_male": 1.0, "grade_high": 0.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,Age,Survival_days\nA,300,10\n", r"row 2: Age is 300; expected years from 0 to 120"),
        ("id,Age,Survival_days\nA,60,-5\n", r"row 2: Survival_days is '-5'; expected days"),
        ("id,Age,Survival_days\nA,60,soon\n", r"Survival_days is 'soon'"),
        ("id,Age,Survival_days\nA,old,10\n", r"Age is 'old'; expected a number"),
        ("id,Age,Survival_days\n,60,10\n", r"row 2: the patient id is empty"),
        ("id,Age,Survival_days\nA,60,10\nA,61,11\n", r"patient A stands in two rows"),
        ("name,Age,Survival_days\nA,60,10\n", r"no column for the patient id.*--id-column"),
        ("id,Age,Lived\nA,60,10\n", r"no column for the survival.*found id, Age, Lived.*--time-column"),
        ("id,Age,days,event\nA,60,10,maybe\n", r"event is 'maybe'; expected 1 \(died\) or 0"),
        ("id,Survival,ResectionStatus\nA,10,XTR\n", r"ResectionStatus is 'XTR'"),
        ("id,Survival,Sex\nA,10,x\n", r"Sex is 'x'"),
        ("id,Survival,Grade\nA,10,V\n", r"Grade is 'V'"),
        ("id,Age,Survival_days\n", r"holds no rows"),
    ],
)
def test_what_cannot_be_right_is_named_with_row_and_value(tmp_path, text, message):
    with pytest.raises(SurvivalError, match=message):
        read_clinical(table(tmp_path, text), need_survival=True)


def test_ids_of_other_years_are_joined_through_the_mapping(tmp_path):
    path = tmp_path / "mapping.csv"
    path.write_text("Grade,BraTS_2018_subject_ID,BraTS_2020_subject_ID\nHGG,B18_1,B20_7\nHGG,NA,B20_8\n")
    mapping = read_mapping(path)
    assert mapping.same("B18_1", ["B20_8", "B20_7"]) == "B20_7"
    assert mapping.same("B20_8", ["B20_8"]) == "B20_8"
    assert mapping.same("NA", ["B20_8"]) is None
    assert mapping.same("B18_2", ["B20_7"]) is None


def test_a_mapping_without_columns_of_ids_is_refused(tmp_path):
    path = tmp_path / "mapping.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(SurvivalError, match="found 0 columns of ids"):
        read_mapping(path)


@pytest.mark.real_data
def test_the_brats_2020_table_is_read_whole(shared_data):
    patients = read_clinical(shared_data / "survival" / "brats20_survival_info.csv", need_survival=True)
    assert len(patients) == 236
    assert sum(patient.features["resection_gtr"] for patient in patients) == 119
    assert all(patient.days is not None and patient.features["age_years"] is not None for patient in patients)
