"""Messages about names that do not exist."""

import pytest

from hlynr.runtime.suggestions import nearest, not_one_of


@pytest.mark.parametrize(
    ("name", "found"), [("refrence", "reference"), ("pm", "pn"), ("x", None), ("", None), ("random", "random")]
)
def test_the_nearest_name_is_found_if_one_is_close(name: str, found: str | None) -> None:
    assert nearest(name, ["reference", "pn", "random"]) == found


def test_all_names_are_listed_and_one_is_suggested() -> None:
    assert not_one_of("hart", ["hard", "easy"]) == "is not one of hard, easy; did you mean hard?"
    assert not_one_of("x", iter(["hard", "easy"])) == "is not one of hard, easy"
