from autoseg.errors import listed, number_of, unknown_name


def test_a_few_names_are_listed_and_the_rest_is_counted():
    assert listed(["a", "b"]) == "a, b"
    assert listed([str(number) for number in range(7)]) == "0, 1, 2, 3, 4 and 2 more"
    assert listed(["a", "b", "c"], most=1, between="; ") == "a and 2 more"
    assert listed([]) == ""


def test_an_unknown_name_is_answered_with_the_nearest_and_all_known():
    error = unknown_name("fold", "al", ["0", "all"])
    assert str(error) == "unknown fold 'al'. Did you mean 'all'? Known: 0, all."
    assert str(unknown_name("fold", "x", [])) == "unknown fold 'x'. Known: none."


def test_of_many_known_names_the_nearest_stand_first_and_the_rest_is_counted():
    many = [f"other_{number:02}" for number in range(40)]
    message = str(unknown_name("model", "zebar", [*many, "zebra"]))
    assert message.startswith("unknown model 'zebar'. Did you mean 'zebra'? Known: zebra, other_00, other_01,")
    assert message.endswith("other_13 and 26 more.")
    assert str(unknown_name("model", "x", many[:15])).endswith("other_13, other_14.")


def test_a_count_stands_before_its_noun_in_the_right_number():
    assert [number_of(count, "case") for count in (0, 1, 2)] == ["0 cases", "1 case", "2 cases"]
