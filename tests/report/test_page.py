import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib import colormaps

from autoseg.artefacts import load, save
from autoseg.colours import contrast
from autoseg.data.image import Geometry
from autoseg.data.readers import write_labels
from autoseg.evaluation.evaluate import Evaluation
from autoseg.report.page import LARGEST_BYTES, render
from autoseg.report.section_scores import MOST_ROWS, per_case
from autoseg.report.sections import Section
from autoseg.report.sources import of_dataset, of_predictions
from autoseg.report.statistics import SHARES, ink_on
from tests.report.made_up import GRID, evaluate_again, planned_and_trained


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return planned_and_trained(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def page(trained):
    return render(of_dataset(*trained))


class Reading(HTMLParser):
    """The rows of each table by its caption, the texts of pictures, and the addresses named anywhere."""

    def __init__(self):
        super().__init__()
        self.tables, self.alts, self.addresses, self._rows, self._text = {}, [], [], [], None

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.addresses += [found[key] for key in ("src", "href") if key in found]
        if tag == "img":
            self.alts.append(found.get("alt"))
        if tag == "table":
            self._rows = []
        if tag == "tr":
            self._rows.append([])
        if tag in ("td", "th", "caption"):
            self._text = ""

    def handle_data(self, text):
        if self._text is not None:
            self._text += text

    def handle_endtag(self, tag):
        if tag == "caption":
            self.tables[self._text.strip()] = self._rows
        elif tag in ("td", "th"):
            self._rows[-1].append(self._text.strip())
        if tag in ("td", "th", "caption"):
            self._text = None


def read(page):
    reading = Reading()
    reading.feed(page)
    return reading


def table(page, caption):
    return next(rows for name, rows in read(page).tables.items() if caption in name)


def test_the_scores_are_those_of_the_stored_evaluations(trained, page):
    stored = [load(Evaluation, trained[1] / f"fold_{fold}" / "validation" / "evaluation.json", remake="-") for fold in "01"]
    dice = {case.id: case.regions["WT"].metrics["dice"] for one in stored for case in one.cases}
    mean = sum(dice.values()) / 4
    rows = table(page, "over 4 cases: the held-out cases of folds 0, 1")
    whole = next(row for row in rows if row[0] == "WT")
    assert re.match(rf"{mean:.3f} \[\d\.\d+,\s\d\.\d+\]\s\(4\)$", whole[1])
    by_fold = table(page, "Mean Dice of each fold")
    assert [row[2] for row in by_fold[1:]] == [f"{one.regions['WT']['dice'].mean:.3f}" for one in stored]


def test_every_case_has_its_rows_and_the_worst_stands_first(trained, page):
    rows = table(page, "Cases from the lowest mean Dice")[1:]
    assert len(rows) == 4 * 3
    assert rows[0][0] == "d"
    assert rows[-1][0] == "a"
    assert [row[2] for row in rows if row[0] == "a"] == ["1.000"] * 3
    # Without an enhancing part in the prediction there is no distance: a dash, not a number.
    assert next(row for row in rows if row[:2] == ["d", "ET"])[5] == "–"


def test_the_page_needs_no_other_file_and_its_pictures_have_texts(page):
    reading = read(page)
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in reading.addresses)
    assert "http" not in re.sub(r"base64,[\w+/=]+", "", page).replace("http-equiv", "")
    assert len(reading.alts) >= 6
    assert all(alt and len(alt) > 20 for alt in reading.alts)
    assert len(page.encode()) < LARGEST_BYTES


def test_cards_and_histories_are_on_it(page):
    assert "1234567 parameters" in page
    rows = table(page, "Seconds, and the most memory")
    assert ["training of fold 1", "77.7", "1.00"] in rows
    assert "autoseg that trained it</dt><dd>9.9" in page


def test_a_damaged_artefact_stands_on_top_by_name_and_in_no_mean(tmp_path):
    folder, model = planned_and_trained(tmp_path)
    (model / "fold_1" / "validation" / "evaluation.json").write_text('{"format": 2')
    (model / "fold_0" / "history.jsonl").write_text('{"epoch": 0, "learning_rate": 1}\nnonsense\n')
    sources = of_dataset(folder, model)
    assert len(sources.problems) == 3  # a made-up model has no plan either
    page = render(sources)
    first = page.index('id="problems"')
    assert first < page.index('id="scores"')
    assert "fold_1/validation/evaluation.json" in page
    assert "line 2 is no JSON" in page
    assert "over 2 cases: the held-out cases of fold 0" in page
    assert "Not evaluated, so not in these means: fold 1." in page


def test_cases_that_are_in_no_mean_are_named(tmp_path):
    folder, model = planned_and_trained(tmp_path)
    held_out = model / "fold_1" / "validation"
    (held_out / "d.nii.gz").unlink()
    evaluate_again(tmp_path, held_out, "c")
    stored = load(Evaluation, held_out / "evaluation.json", remake="-")
    save(stored.model_copy(update={"missing": ("y",), "extra": ("z",)}), held_out / "evaluation.json")
    page = render(of_dataset(folder, model))
    assert "over 3 cases: the held-out cases of folds 0, 1" in page
    assert "Left out, held-out cases of fold 1 without a score: d." in page
    assert "Left out, references without a prediction: y." in page
    assert "Left out, predictions without a reference: z." in page


def test_a_case_whose_files_have_changed_is_named_where_its_picture_would_be(tmp_path):
    folder, model = planned_and_trained(tmp_path)
    (model / "fold_1" / "validation" / "d.nii.gz").write_bytes(b"no image")
    larger = Geometry((9, 12, 10), GRID.spacing_mm, GRID.affine)
    write_labels(model / "fold_0" / "validation" / "a.nii.gz", np.zeros((9, 12, 10), dtype=np.uint8), larger)
    page = render(of_dataset(folder, model))
    assert re.search(r"worst case d cannot be drawn: .*validation/d\.nii\.gz", page)
    assert re.search(r"best case a cannot be drawn: .*a\.nii\.gz is \(9, 12, 10\)", page)
    assert "median case: c" in page


def test_a_page_on_thousands_of_cases_can_still_be_sent_by_mail(trained):
    sources = of_dataset(*trained)
    few = sources.evaluation.cases
    count = MOST_ROWS // 3 + 1
    many = [few[index % 4].model_copy(update={"id": f"case_{index:05}"}) for index in range(count)]
    cases = Section("cases", "Every case", per_case)
    blocks = per_case(replace(sources, evaluation=sources.evaluation.model_copy(update={"cases": tuple(many)})))
    assert len(blocks[0].rows) == MOST_ROWS
    assert blocks[1].text == f"These are the first {MOST_ROWS} of {3 * count} rows; per_case.csv holds all."
    nothing = sources.evaluation.model_copy(update={"cases": ()})
    empty = len(render(replace(sources, evaluation=nothing), sections=[cases]))
    a_row = (len(render(sources, sections=[cases])) - empty) / 12
    assert MOST_ROWS * a_row < 0.8 * LARGEST_BYTES


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_can_be_read_on_their_grounds(page, scheme):
    parts = page.split("@media (prefers-color-scheme: dark)")
    named = re.findall(r"--(\w+): #(\w{6})", parts[scheme == "dark"].partition("}")[0])
    colours = {name: tuple(bytes.fromhex(digits)) for name, digits in named}
    for ground in ("paper", "band"):
        for text in ("ink", "soft", "link", "alarm"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)


def test_numbers_can_be_read_on_the_colours_of_a_confusion():
    for share in np.linspace(0, 1, 101):
        ground = tuple(int(part) for part in colormaps[SHARES](share, bytes=True)[:3])
        ink = (0, 0, 0) if ink_on(share) == "black" else (255, 255, 255)
        assert contrast(ground, ink) >= 4.5


def test_names_are_text_and_never_commands(trained):
    sources = of_dataset(*trained)
    object.__setattr__(sources, "title", "<script>alert(1)</script>")
    assert "<script>alert" not in render(sources)


def test_a_folder_of_predictions_needs_no_model(trained):
    page = render(of_predictions(trained[1] / "fold_0" / "validation", trained[0].dataset_file))
    assert "over 2 cases: all cases" in page
    assert "worst case: b" in page


def test_maps_of_uncertainty_are_no_predictions(tmp_path):
    folder, model = planned_and_trained(tmp_path)
    held_out = model / "fold_0" / "validation"
    (held_out / "a_entropy.nii.gz").write_bytes((held_out / "a.nii.gz").read_bytes())
    assert set(of_dataset(folder, model).predictions) == set("abcd")
