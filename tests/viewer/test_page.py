"""The page in a real browser."""

import io
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from autoseg.data.image import Geometry
from autoseg.data.readers import write_image, write_labels
from autoseg.viewer import niivue
from autoseg.viewer.gather import Named
from autoseg.viewer.run import open_viewer
from tests.report.made_up import tumour
from tests.viewer.made_up import answering, write_patient, write_set

pytestmark = pytest.mark.skipif(not niivue.is_installed(), reason="NiiVue is not installed: autoseg_view --install")

SIZE = {"width": 900, "height": 620}


def ready(page):
    page.wait("document.getElementById('stage').getAttribute('aria-busy') === 'false'")


def text(page, selector):
    return page.evaluate(f"document.querySelector({selector!r}).textContent")


def drawn(page):
    """What is drawn, as red, green and blue."""
    return np.asarray(Image.open(io.BytesIO(page.picture("#canvas"))).convert("RGB")).astype(int)


def coloured(picture):
    """Pixels that are not grey: those of label maps."""
    return int((picture.max(axis=2) - picture.min(axis=2) > 60).sum())


@contextmanager
def opened(browser, named, **options):
    with answering(open_viewer(named, None)) as serving:
        page = browser.open(serving.address, **(SIZE | options))
        ready(page)
        yield page
        outside = [one for one in page.requests if not one.startswith((serving.address, "data:", "blob:"))]
        page.close()
    assert not page.complaints
    assert not outside


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("page"))


def everything(root):
    return Named(
        images=root / "images",
        predictions=root / "predictions",
        references=root / "references",
        uncertainty=root / "maps",
    )


@pytest.fixture(scope="module")
def page(browser, root):
    """One page for all tests that leave it as they found it; whatever it complains of fails the last of them."""
    with opened(browser, everything(root)) as found:
        yield found


def test_a_case_is_drawn(page):
    picture = drawn(page)
    assert (picture.max(axis=2) > 30).mean() > 0.05
    assert coloured(picture) > 1000
    assert text(page, "#case-name").startswith("a (1 of 3)")
    assert "prediction" in page.evaluate("document.getElementById('canvas').getAttribute('aria-label')")


def test_layers_and_classes_are_listed_with_their_keys(page):
    labels = "[...document.querySelectorAll('#%s label span:not(.swatch)')].map((one) => one.textContent)"
    assert page.evaluate(labels % "layers") == ["prediction", "reference", "difference", "entropy"]
    assert page.evaluate(labels % "classes") == ["label_2", "label_4"]
    assert page.evaluate(labels % "differences") == ["only predicted", "missed", "other label"]
    assert page.evaluate(labels % "sequences") == ["image"]


def test_switching_a_class_off_takes_its_pixels_away_and_on_brings_them_back(page):
    before = drawn(page)
    page.click("#classes input")
    ready(page)
    without = drawn(page)
    assert coloured(without) < 0.7 * coloured(before)
    page.press("2", shift=True)
    ready(page)
    assert coloured(drawn(page)) < 20
    page.press("1", shift=True)
    page.press("2", shift=True)
    ready(page)
    assert (drawn(page) == before).mean() > 0.999


def test_layers_are_switched_by_their_keys(page):
    before = drawn(page)
    for key in "pr":
        page.press(key)
        ready(page)
    assert coloured(drawn(page)) < 20
    assert not page.evaluate("document.querySelector('#layers input').checked")
    page.press("u")
    ready(page)
    assert coloured(drawn(page)) > 500
    for key in "upr":
        page.press(key)
        ready(page)
    assert (drawn(page) == before).mean() > 0.999


def test_the_next_case_opens_and_the_worst_is_found(page):
    before = drawn(page)
    page.press("n")
    page.wait("document.getElementById('case-name').textContent.startsWith('b (2 of 3)')")
    ready(page)
    assert (drawn(page) != before).any(axis=2).mean() > 0.001
    assert text(page, "#cases [aria-current='true'] span") == "b"
    page.wait("document.getElementById('scores-note').textContent === ''")
    page.press("w")
    page.wait("document.getElementById('case-name').textContent.startsWith('c (3 of 3)')")
    ready(page)
    assert "Dice, mean of labels 0.2" in text(page, "#case-name")
    page.press("w")
    page.wait("document.getElementById('case-name').textContent.startsWith('b')")
    ready(page)
    page.click("#cases button")
    page.wait("document.getElementById('case-name').textContent.startsWith('a')")
    ready(page)


def test_cases_are_sorted_worst_first(page):
    page.wait("document.getElementById('scores-note').textContent === ''")
    names = "[...document.querySelectorAll('#cases button span:first-child')].map((one) => one.textContent)"
    choose = "{{ const one = document.getElementById('order'); one.value = '{}'; one.dispatchEvent(new Event('change')); }}"
    page.evaluate(choose.format("worst"))
    assert page.evaluate(names) == ["c", "b", "a"]
    page.evaluate(choose.format("name"))
    assert page.evaluate(names) == ["a", "b", "c"]


def test_views_are_changed_and_the_crosshair_is_moved_by_keys(page):
    before, place = drawn(page), text(page, "#place")
    for key in "acst":
        page.press(key)
        assert (drawn(page) != before).any(axis=2).mean() > 0.01
    assert page.evaluate("document.querySelector('#view-render').getAttribute('aria-pressed')") == "true"
    page.press("v")
    page.press("ArrowUp")
    assert text(page, "#place") != place
    page.press("f")
    assert text(page, "#place") == place
    assert (drawn(page) == before).mean() > 0.999


def test_help_opens_and_closes_and_names_every_key(page):
    page.press("?", shift=True)
    assert page.evaluate("document.getElementById('help').open")
    shown = text(page, "#help-keys")
    assert "next worst case" in shown
    before = text(page, "#case-name")
    page.press("n")
    assert text(page, "#case-name") == before
    page.click("#help button")
    assert not page.evaluate("document.getElementById('help').open")


def test_every_control_can_be_reached_and_has_a_name(page):
    nameless = page.evaluate(
        "[...document.querySelectorAll('button, input, select, canvas')].filter((one) => !(one.textContent.trim()"
        " || one.getAttribute('aria-label') || one.labels?.[0]?.textContent.trim())).length"
    )
    assert nameless == 0
    assert page.evaluate("document.querySelector('#canvas').tabIndex") == 0
    assert page.evaluate("document.documentElement.lang") == "en"


def test_a_screenshot_is_a_picture_of_the_drawing(page):
    # The policy of the page forbids to fetch blobs, so what is saved is looked at as an image.
    page.evaluate(
        "HTMLAnchorElement.prototype.click = function () { window.taken = new Promise((resolve) => {"
        " const image = new Image(); image.onload = () => resolve([image.width, image.height, this.download]);"
        " image.src = this.href; }); }"
    )
    page.press("e")
    page.wait("!!window.taken?.then")
    width, height, name = page.evaluate("window.taken")
    assert name == "autoseg_a.png"
    assert width > 200
    assert height > 200


def test_the_page_asked_for_nothing_elsewhere_and_never_complained(page):
    assert not page.complaints
    assert any("case/0/layer/image-0-0" in one for one in page.requests)


def test_a_patient_has_its_sequences_and_is_dark_and_narrow_where_the_reader_is(browser, tmp_path):
    patient = write_patient(tmp_path / "Brats18_X_1")
    with opened(browser, Named(str(patient)), width=360, height=740, dark=True) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 29)"
        before = drawn(page)
        page.press("3")
        ready(page)
        assert page.evaluate("document.querySelectorAll('#sequences input')[2].checked")
        assert (drawn(page) != before).any()
        assert "t1ce" in text(page, "#place")


def test_other_grids_and_damaged_files_are_said_on_the_page_and_the_rest_is_drawn(browser, tmp_path):
    root = write_set(tmp_path)
    other = Geometry((4, 12, 10), (6.0, 1.0, 1.0), np.diag([1.0, 1.0, 6.0, 1.0]))
    write_labels(root / "predictions" / "a.nii.gz", tumour()[::2], other)
    (root / "predictions" / "b.nii.gz").write_bytes(b"damaged")
    with opened(browser, everything(root)) as page:
        assert "Prediction and reference lie on different grids (shape 4 x 12 x 10" in text(page, "#notes")
        assert coloured(drawn(page)) > 1000
        assert page.evaluate("document.getElementById('differences').hidden")
        page.press("n")
        page.wait("document.getElementById('case-name').textContent.startsWith('b')")
        ready(page)
        page.wait("document.getElementById('scores-note').textContent.startsWith('2 of 3 cases cannot be compared')")
        assert "The prediction cannot be shown" in text(page, "#notes")
        assert coloured(drawn(page)) > 1000


def test_a_picture_is_seen_from_above_alone_and_upright(browser, tmp_path):
    pixels = np.zeros((40, 60), np.uint8)
    pixels[:20], pixels[:20, :20] = 120, 250
    Image.fromarray(pixels).save(tmp_path / "p.png")
    Image.fromarray(pixels // 100).save(tmp_path / "m.png")
    with opened(browser, Named(str(tmp_path / "p.png"), references=tmp_path / "m.png")) as page:
        assert page.evaluate("document.getElementById('view-render').disabled")
        page.press("r")
        page.press("x")
        ready(page)
        seen = drawn(page).max(axis=2)
        rows, columns = np.nonzero(seen > 235)
        height, width = seen.shape
        assert rows.mean() < height / 2
        assert columns.mean() < width / 2


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (-1, 1, -1)], ids=["RAS", "LPS", "LAI"])
def test_sides_of_the_patient_are_where_radiologists_expect_them_however_a_file_is_stored(browser, tmp_path, signs):
    """A lamp at the left, the front and the top of the head is at the right and the top of the screen."""
    side = 16
    affine = np.diag([*signs, 1.0])
    # World coordinates (x to the right, y to the front, z to the top) of all voxels, middle of the grid at 0.
    affine[:3, 3] = -affine[:3, :3] @ np.full(3, (side - 1) / 2)
    x, y, z = (affine[axis, axis] * np.arange(side) + affine[axis, 3] for axis in range(3))
    voxels = np.full((1, side, side, side), 50, np.int16)
    lamp = (np.abs(z - 4) < 2)[:, None, None] & (np.abs(y - 4) < 2)[None, :, None] & (np.abs(x + 4) < 2)[None, None, :]
    voxels[0][lamp] = 1000
    grid = Geometry((side,) * 3, (1.0, 1.0, 1.0), affine)
    write_image(tmp_path / "head.nii.gz", voxels, grid)
    write_labels(tmp_path / "lamp.nii.gz", lamp.astype(np.uint8), grid)
    with opened(browser, Named(str(tmp_path / "head.nii.gz"), references=tmp_path / "lamp.nii.gz")) as page:
        page.press("r")
        page.press("x")
        for key, is_right in (("a", True), ("c", True), ("s", False)):  # sagittal: the nose points to the left
            page.press(key)
            ready(page)
            seen = drawn(page).min(axis=2)
            inside = np.argwhere(seen > 5)
            middle = (inside.min(axis=0) + inside.max(axis=0)) / 2
            row, column = np.argwhere(seen > 220).mean(axis=0)
            assert row < middle[0]
            assert (column > middle[1]) == is_right


def test_names_are_text_and_never_commands(browser, tmp_path):
    root = write_set(tmp_path, ["<img src=x onerror=alert(1)>"], shifts=(0,))
    with opened(browser, everything(root)) as page:
        assert "<img src=x" in text(page, "#cases")
        assert page.evaluate("document.querySelectorAll('#cases img').length") == 0
