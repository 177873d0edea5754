from autoseg.planning.explain import explain, table
from autoseg.planning.planner import make_plan
from tests.planning.facts import brain


def test_the_page_holds_every_decision_with_reason_and_source():
    plan = make_plan(brain())
    page = explain(plan)
    for decision in plan.decisions:
        assert f"{decision.name}: {decision.value}" in page
    assert page.count("    because ") == page.count("    source: ") == len(plan.decisions)
    assert "--set 3d_fullres.patch_size=128,128,128" in page


def test_the_table_has_a_row_for_each_configuration():
    head, *rows = table(make_plan(brain(shapes=((400, 512, 512),) * 20)))
    assert head[0] == "configuration"
    assert [row[0] for row in rows] == ["2d", "3d_lowres", "3d_fullres", "3d_cascade_fullres"]
    assert rows[3][-1].endswith("after 3d_lowres")
