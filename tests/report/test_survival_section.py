import pytest

pytest.importorskip("sksurv", reason="needs the extra [survival]")

from autoseg.artefacts import save
from autoseg.errors import ArtefactError
from autoseg.report.page import render
from autoseg.report.sources import Sources, of_survival
from autoseg.survival.cohort import LeftOut
from autoseg.survival.pictures import write_pictures
from autoseg.survival.run import MODEL_FILE
from autoseg.survival.training import train_model
from autoseg.survival.validation import AUTOMATIC
from tests.survival.cohorts import draw_cohort


def test_the_page_shows_scores_pictures_and_the_notice_of_a_survival_model(tmp_path):
    cohort = draw_cohort(40)
    model, found = train_model(cohort, LeftOut((), ()), families=["ridge"], seed=0, made_from={})
    save(model, tmp_path / MODEL_FILE)
    write_pictures(cohort, model, found[AUTOMATIC], tmp_path)
    page = render(Sources(title="survival", survival=of_survival(tmp_path)))
    assert "Not for treatment decisions" in page
    assert f'data-number="{model.validation.automatic["c_index"].value}"' in page
    assert page.count("data:image/png;base64,") == 3
    assert "C-index minus that of age alone" in page


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ArtefactError, match="autoseg_survival train"):
        of_survival(tmp_path)
