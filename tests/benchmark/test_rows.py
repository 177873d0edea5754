from autoseg.artefacts import save
from autoseg.benchmark.hardware import Reference, Speeds, limits_of, recorded
from autoseg.benchmark.pareto import draw_pareto
from autoseg.benchmark.report import table_lines
from autoseg.benchmark.rows import Row, Score, Table, joined_with, mean_dice, pareto_best
from autoseg.benchmark.timing import Machine

MACHINE = Machine(processor="EPYC", threads=2, device="cpu", torch="2.13.0")


def row(name, dice=None, case_s=None, failed=None):
    score = Score(mean=dice, low=None, high=None, counted=3)
    scores = (
        {} if dice is None else {"tumour": {"dice": score, "sensitivity": score, "specificity": score, "hd95_mm": score}}
    )
    return Row(
        name=name,
        configuration="2d",
        recipe=None,
        folds=("0",),
        case_s=case_s,
        mean_dice=dice,
        scores=scores,
        failed=failed,
    )


def table(*rows):
    return Table(dataset="Heads", plan="0123", machine=MACHINE, budget_s=600.0, iterations=None, seed=0, rows=rows)


def test_a_row_is_best_unless_another_is_as_good_in_less_time():
    rows = (row("slow and good", 0.9, 10.0), row("fast", 0.7, 1.0), row("beaten", 0.6, 2.0), row("failed", failed="no"))
    assert pareto_best(rows) == {"slow and good", "fast"}


def test_rows_of_the_same_plan_and_budget_come_together_in_one_table(tmp_path):
    first = table(row("a", 0.5, 1.0), row("b", 0.7, 2.0))
    save(first, tmp_path / "run.json")
    again = joined_with(table(row("b", 0.8, 2.0), row("peer", 0.6, 5.0)), tmp_path / "run.json")
    assert [(one.name, one.mean_dice) for one in again.rows] == [("a", 0.5), ("b", 0.8), ("peer", 0.6)]
    longer = table(row("c", 0.9, 1.0)).model_copy(update={"budget_s": 1200.0})
    assert joined_with(longer, tmp_path / "run.json") == longer
    assert joined_with(longer, tmp_path / "none.json") == longer


def test_two_equal_rows_beat_each_other_not():
    assert pareto_best((row("a", 0.5, 1.0), row("b", 0.5, 1.0))) == {"a", "b"}


def test_a_failed_row_is_said_and_the_others_stand_in_the_table():
    text = "\n".join(table_lines(table(row("2d", 0.8, 1.5), row("3d", failed="the loss was not finite"))))
    assert "| **2d** | 0.800 | 0.800 |" in text
    assert "3d failed: the loss was not finite" in text


def test_the_mean_dice_leaves_out_structures_that_never_occurred():
    none = Score(mean=None, low=None, high=None, counted=0)
    some = Score(mean=0.6, low=None, high=None, counted=2)
    assert mean_dice({"a": {"dice": none}, "b": {"dice": some}}) == 0.6
    assert mean_dice({"a": {"dice": none}}) is None


def test_the_picture_is_a_png(tmp_path):
    draw_pareto(table(row("a", 0.5, 1.0), row("b", 0.7, 2.0), row("c", failed="no")), tmp_path / "run.png")
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")


def speeds(**changes):
    values = dict.fromkeys(Speeds.model_fields, 10.0)
    return Speeds(**(values | changes))


def test_what_is_slower_than_half_of_a_recorded_machine_is_a_limit():
    reference = Reference(
        name="A", machine=MACHINE, precision="bf16", measured="2026-11-21", autoseg="0.1", load=0.0, speeds=speeds()
    )
    assert limits_of(speeds(loaded_patches=4.0), (reference,), waiting_steps=0.0) == (
        "loaded patches: 4 a second, 40% of A",
    )
    assert "nothing is slow" in limits_of(speeds(), (reference,), waiting_steps=0.0)[0]
    assert "loading limits" in limits_of(speeds(), (), waiting_steps=0.2)[0]


def test_the_recorded_machines_are_whole():
    assert all(reference.measured for reference in recorded())
