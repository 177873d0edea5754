from pathlib import Path

from autoseg.survival.definitions import INTENSITY_FEATURES, REGION_FEATURES, columns_of, intensity_name, ratio_name

PAGE = Path(__file__).parents[2] / "docs" / "survival.md"


def test_the_page_tells_each_feature_with_its_unit_meaning_and_source():
    page = PAGE.read_text(encoding="utf-8")
    for item in (*REGION_FEATURES, *INTENSITY_FEATURES):
        assert f"| {item.unit} | {item.meaning} | {item.source} |" in page, item.name


def test_names_tell_region_channel_and_unit():
    assert ratio_name("TC", "WT") == "TC_to_WT_ratio"
    assert intensity_name("WT", "flair", "mean") == "WT_flair_mean_z"
    assert intensity_name("WT", "flair", "skewness") == "WT_flair_skewness"
    names = [column.name for column in columns_of(("WT", "TC", "ET"), ("flair",))]
    assert len(set(names)) == len(names) == 3 * 17 + 3 + 3 * 7
