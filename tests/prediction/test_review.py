from autoseg.prediction.report import CasePrediction, Uncertainty
from autoseg.prediction.review import case_score, ranks, reasons, review_of


def case(name: str, dice: float | None, *, found_by: int = 5, second: float | None = None) -> CasePrediction:
    def row(value: float | None, found_by: int) -> Uncertainty:
        return Uncertainty(
            volume_ml=1.0,
            members=5,
            found_by=found_by,
            volume_sd_ml=0.1,
            volume_min_ml=0.5,
            volume_max_ml=1.5,
            entropy_bits=0.1,
            border_entropy_bits=0.2,
            expected_dice=value,
        )

    rows = {"WT": row(dice, found_by)} | ({"ET": row(second, 5)} if second is not None else {})
    shared = {"file": "", "probabilities": None, "skipped": False, "seconds": {}, "volumes_ml": {}, "way": None}
    return CasePrediction(id=name, uncertainty=rows, error=None, **shared)


def test_cases_are_put_in_order_by_the_mean_over_the_structures_that_are_there() -> None:
    cases = [case("a", 0.9), case("b", 0.95, second=0.5), case("c", None), case("d", 0.9)]
    assert case_score(cases[2]) is None
    assert ranks(cases) == {"b": 1, "a": 2, "d": 2}


def test_a_low_expected_dice_is_a_reason_by_itself_even_for_a_single_case() -> None:
    assert reasons([case("a", 0.69)])["a"]["WT"] == ("expected Dice 0.69 is below 0.7",)
    assert review_of([case("a", 0.71)]) == {}


def test_a_structure_that_only_some_members_find_is_a_reason() -> None:
    assert reasons([case("a", 0.9, found_by=2)])["a"]["WT"] == ("found by 2 of 5 members",)
    assert reasons([case("a", None, found_by=0)])["a"]["WT"] == ()


def test_with_few_cases_none_is_called_far_below_the_others_and_with_ten_it_is() -> None:
    few = [case(str(index), 0.97) for index in range(8)] + [case("odd", 0.85)]
    assert reasons(few)["odd"]["WT"] == ()
    enough = [*few, case("9", 0.97)]
    assert reasons(enough)["odd"]["WT"] == ("expected Dice 0.85 is far below that of the other cases (median 0.97)",)


def test_where_all_cases_are_alike_none_stands_out() -> None:
    assert review_of([case(str(index), 0.95 - 0.001 * index) for index in range(20)]) == {}


def test_the_least_sure_case_is_named_first() -> None:
    assert list(review_of([case("a", 0.65), case("b", 0.6), case("c", 0.9)])) == ["b", "a"]
