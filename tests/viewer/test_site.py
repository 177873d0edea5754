import json

import numpy as np
import pytest

from autoseg.artefacts import save
from autoseg.data.image import Geometry
from autoseg.data.readers import write_labels
from autoseg.evaluation.run import evaluate
from autoseg.prediction.report import REPORT_FILE
from autoseg.viewer.gather import Named, gather
from autoseg.viewer.scores import ScoreBoard
from autoseg.viewer.server import bind
from autoseg.viewer.site import KEPT_OPEN, Site
from tests.evaluation.test_evaluate import BRATS
from tests.report.made_up import tumour
from tests.viewer.made_up import answering, ask, ask_json, predicted_report, secret_of, write_set


def named(root):
    return Named(images=root / "images", predictions=root / "predictions", references=root / "references")


def site_of(root, *, is_filled=True):
    collection = gather(named(root), None)
    scores = ScoreBoard(collection)
    if is_filled:
        scores.fill()
    script = root / "niivue.js"
    script.write_text("// drawn by nobody")
    return Site(collection, scores, script)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("site"))


def told(answer):
    return json.loads(b"".join(answer.content))


def test_everything_the_page_asks_for_is_there(root):
    with answering(bind(site_of(root))) as serving:
        cases = ask_json(serving, "cases")
        assert [one["id"] for one in cases["cases"]] == ["a", "b", "c"]
        opened = ask_json(serving, "case/1")
        for layer in opened["layers"]:
            status, headers, content = ask(serving, f"{secret_of(serving)}case/1/layer/{layer['id']}")
            assert status == 200
            assert content[:4] == (348).to_bytes(4, "little")
            assert int(headers["Content-Length"]) == len(content)
        for page in ("", "index.html", "style.css", "main.js", "drawing.js", "niivue.js", "icon.svg"):
            assert ask(serving, secret_of(serving) + page)[0] == 200
        for nothing in ("case/3", "case/-1", "case/x", "case/1/layer/none", "case/1/layer", "run.py", "page/index.html"):
            assert ask(serving, secret_of(serving) + nothing)[0] == 404


def test_scores_are_dice_where_none_are_stored(root):
    found = told(site_of(root)("scores"))
    assert found["waiting"] == 0
    assert not found["stored"]
    assert [one["name"] for one in found["metrics"]] == ["dice"]
    assert found["rows"]["a"]["labels"] == {"label_2": {"dice": 1.0}, "label_4": {"dice": 1.0}}
    # Two blocks of 5 voxels along x that share 3 of them, and cores of 2 that share none, are the case moved by two.
    assert found["rows"]["c"]["labels"]["label_4"] == {"dice": 0.0}


def test_scores_come_while_the_page_is_open_already(root):
    site = site_of(root, is_filled=False)
    assert told(site("scores"))["waiting"] == 3
    assert told(site("cases"))["cases"][0] == {"id": "a", "review": []}
    site.scores.stop()
    site.scores.fill()
    assert told(site("scores"))["waiting"] == 3


def test_stored_scores_are_shown_as_they_are(tmp_path):
    root = write_set(tmp_path)
    evaluation = evaluate(root / "predictions", root / "references", labels=BRATS, workers=1)
    found = told(site_of(root)("scores"))
    assert found["stored"]
    assert len(found["metrics"]) == len(evaluation.metrics)
    assert found["structures"]["regions"] == ["WT", "TC", "ET"]
    case = next(case for case in evaluation.cases if case.id == "b")
    assert found["rows"]["b"]["regions"]["WT"]["hd95_mm"] == case.regions["WT"].metrics["hd95_mm"]
    better = {one["name"]: one["better"] for one in found["metrics"]}
    assert (better["dice"], better["hd95_mm"]) == ("high", "low")


def test_predictions_without_references_are_ranked_by_how_sure_they_are(tmp_path):
    root = write_set(tmp_path)
    sureness = {"a": {"WT": 0.9, "necrotic": None}, "b": {"WT": 0.4, "necrotic": 0.5}}
    save(predicted_report(BRATS, sureness=sureness, review={"b": ("low",)}), root / "predictions" / REPORT_FILE)
    collection = gather(Named(str(root / "predictions")), None)
    board = ScoreBoard(collection)
    board.fill()
    found = board.described()
    assert [one["name"] for one in found["metrics"]] == ["expected_dice", "entropy_bits"]
    assert (found["metrics"][0]["heading"], found["metrics"][0]["better"]) == ("Expected Dice", "high")
    assert found["structures"] == {"regions": ["WT"], "labels": ["necrotic"]}
    assert found["rows"]["b"]["regions"]["WT"] == {"expected_dice": 0.4, "entropy_bits": 0.25}
    site = Site(collection, board, root / "images" / "a.nii.gz")
    assert told(site("cases"))["cases"][1]["review"] == ["low"]
    # With references, both stand side by side.
    board = ScoreBoard(gather(named(root), None))
    board.fill()
    assert sorted(board.described()["rows"]["a"]["regions"]["WT"]) == ["dice", "entropy_bits", "expected_dice"]


def test_a_case_that_cannot_be_compared_is_named_and_the_others_have_scores(tmp_path):
    root = write_set(tmp_path)
    other = Geometry((4, 12, 10), (6.0, 1.0, 1.0), np.diag([1.0, 1.0, 6.0, 1.0]))
    write_labels(root / "predictions" / "b.nii.gz", tumour()[::2], other)
    (root / "references" / "c.nii.gz").write_bytes(b"damaged")
    found = told(site_of(root)("scores"))
    assert list(found["rows"]) == ["a"]
    assert "shape of the prediction is 4 x 12 x 10" in found["problems"]["b"]
    assert "c.nii.gz" in found["problems"]["c"]


def test_an_image_that_cannot_be_read_is_an_answer_that_says_so(tmp_path):
    root = write_set(tmp_path)
    site = site_of(root)
    site("case/0")
    whole = (root / "images" / "a.nii.gz").read_bytes()
    (root / "images" / "a.nii.gz").write_bytes(whole[: len(whole) // 2])
    answer = site("case/0/layer/image-0-0")
    assert answer.status == 422
    assert "a.nii.gz" in told(answer)["error"]


def test_few_cases_stay_in_memory(tmp_path):
    root = write_set(tmp_path, "abcdef", shifts=(0,) * 6)
    site = site_of(root, is_filled=False)
    for number in range(6):
        site(f"case/{number}")
    assert len(site._open) == KEPT_OPEN
