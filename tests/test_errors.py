from autoseg.errors import listed, unknown_name


def test_a_few_names_are_listed_and_the_rest_is_counted():
    assert listed(["a", "b"]) == "a, b"
    assert listed([str(number) for number in range(7)]) == "0, 1, 2, 3, 4 and 2 more"
    assert listed(["a", "b", "c"], most=1, between="; ") == "a and 2 more"
    assert listed([]) == ""


def test_an_unknown_name_is_answered_with_the_nearest_and_all_known():
    error = unknown_name("fold", "al", ["0", "all"])
    assert str(error) == "unknown fold 'al'. Did you mean 'all'? Known: 0, all."
    assert str(unknown_name("fold", "x", [])) == "unknown fold 'x'. Known: none."
