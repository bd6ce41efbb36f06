"""Labels, as tables print them and as they are typed."""

import pytest

from protocols.spec.labels import label, parse_label, split_list, split_names
from results.errors import RequestError


def test_commas_within_brackets_part_nothing():
    typed = "relational[views=4,aggregation=max], simclr ,x[crop=[0.2, 1.0],flip=0],,y"
    assert split_list(typed) == ["relational[views=4,aggregation=max]", "simclr", "x[crop=[0.2, 1.0],flip=0]", "y"]
    assert split_list("folder:a]b,digits") == ["folder:a]b", "digits"]


def test_a_label_comes_apart():
    assert parse_label("simclr") == ("simclr", {})
    assert parse_label("a[b=1,c.d=x,e=[0.2, 1.0],f=true]") == (
        "a",
        {"b": 1, "c": {"d": "x"}, "e": [0.2, 1.0], "f": True},
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a[b=1", "'a[b=1' lacks its ]; write it like"),
        ("a[", "'a[' lacks its ]; write it like"),
        ("a[b]", "'a[b]': 'b' has no value; write a[b=VALUE]"),
        ("a[b=1]c", "'a[b=1]c' has something after its ]; write it like"),
        ("[b=1]", "'[b=1]' names nothing before its [; write it like"),
        ("a(b=1)", "'a(b=1)' is no label; options stand in square brackets: a[b=1]"),
        ("a(b=1", "options stand in square brackets: a[b=1]"),
    ],
)
def test_what_is_no_label_is_refused_with_the_reason(text, complaint):
    with pytest.raises(RequestError) as caught:
        parse_label(text)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("base", "change", "expected"),
    [
        ({"b": 1}, {"b": 1.0}, "a"),
        ({"b": 1}, {"b": 2.0}, "a[b=2]"),
        ({"b": False}, {"b": True}, "a[b=true]"),
        ({"b": 1}, {"b": 1e16}, "a[b=1e16]"),
        ({"b": 1}, {"b": 2.5e9}, "a[b=2.5e9]"),
        ({"b": 1}, {"b": 1234567891.0}, "a[b=1234567891.0]"),
        ({"pretrain": {"lr": 1}}, {"pretrain": {"lr": 0.5}}, "a[lr=0.5]"),
        ({"lr": 3, "pretrain": {"lr": 1}}, {"pretrain": {"lr": 0.5}}, "a[pretrain.lr=0.5]"),
        ({"recipes": {"standard": {}}}, {"recipes": {"standard": {"crop": [0.2, 1.0]}}}, "a[standard.crop=[0.2, 1.0]]"),
    ],
)
def test_a_label_says_what_is_really_changed(base, change, expected):
    assert label("a", base, change) == expected


def test_names_part_at_commas_but_not_the_path_of_a_folder_that_is_there(tmp_path):
    assert split_names("cifar10,relational[views=2,hidden=8],stl10") == [
        "cifar10",
        "relational[views=2,hidden=8]",
        "stl10",
    ]
    (tmp_path / "cats,dogs,mice").mkdir()
    inside = split_names("digits,folder:cats,dogs,mice,shapes", tmp_path)
    assert inside == ["digits", "folder:cats,dogs,mice", "shapes"]
    assert split_names("folder:cats,dogs", tmp_path) == ["folder:cats", "dogs"]
