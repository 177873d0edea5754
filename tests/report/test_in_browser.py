"""The report in a real browser, without a network."""

import pytest

from autoseg.report.run import write_report
from autoseg.report.sources import of_dataset
from tests.report.made_up import planned_and_trained

TABLE = (
    "[...document.querySelectorAll('table.sortable')].find((one) => one.caption.textContent.includes('lowest mean Dice'))"
)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    [path] = write_report(of_dataset(*planned_and_trained(folder)), folder / "page")
    return path.as_uri()


@pytest.fixture
def page(browser, address):
    found = browser.open(address, offline=True)
    yield found
    outside = [one for one in found.requests if not one.startswith((address, "data:"))]
    found.close()
    assert not found.complaints
    assert not outside


def column(page, heading):
    """The texts of a column of the table of cases, from the top."""
    return page.evaluate(
        f"(() => {{ const table = {TABLE}; const place = [...table.tHead.rows[0].cells].findIndex("
        f"(one) => one.textContent.trim() === '{heading}');"
        " return [...table.tBodies[0].rows].map((row) => row.cells[place].textContent.trim()); })()"
    )


def focus(page, heading):
    page.evaluate(
        f"[...{TABLE}.tHead.querySelectorAll('button')].find((one) => one.textContent.trim() === '{heading}').focus()"
    )


def numbers(texts):
    return [float(text) for text in texts if text != "–"]


def test_the_report_opens_without_a_network_and_asks_for_nothing(page):
    assert page.evaluate("document.querySelectorAll('main section').length") > 5
    broken = "[...document.images].filter((one) => !one.complete || one.naturalWidth === 0).length"
    assert page.evaluate(broken) == 0
    assert page.evaluate("document.images.length") > 3


def test_the_worst_case_stands_first_until_a_heading_is_clicked(page):
    assert column(page, "case")[0] == "d"
    page.evaluate(f"[...{TABLE}.tHead.querySelectorAll('button')].find((one) => one.textContent.trim() === 'Dice').click()")
    first = numbers(column(page, "Dice"))
    assert first in (sorted(first), sorted(first, reverse=True))
    focus(page, "Dice")
    page.evaluate("document.activeElement.click()")
    second = numbers(column(page, "Dice"))
    assert second == sorted(second, reverse=first == sorted(first))
    assert len(set(second)) > 2


def test_a_heading_sorts_when_enter_is_pressed_and_says_how(page):
    focus(page, "Dice")
    page.press("Enter")
    found = column(page, "Dice")
    ascending = numbers(found) == sorted(numbers(found))
    said = page.evaluate("document.activeElement.closest('th').getAttribute('aria-sort')")
    assert said == ("ascending" if ascending else "descending")
    assert all(text == "–" for text in found[len(numbers(found)) :])
    page.press("Enter")
    assert numbers(column(page, "Dice")) == sorted(numbers(found), reverse=ascending)


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_scrolls_only_downwards(browser, address, dark):
    page = browser.open(address, width=360, height=740, dark=dark, offline=True)
    try:
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.evaluate("document.documentElement.scrollHeight") > 740
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == ("rgb(20, 24, 29)" if dark else "rgb(255, 255, 255)")
        assert not page.complaints
    finally:
        page.close()
