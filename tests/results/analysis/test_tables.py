"""The numbers of the main tables; what they look like is tested with their section."""

import re

from results.analysis.tables import unique_name


def test_names_are_safe_and_unique():
    name = unique_name("relational2020[lr=0.1, flip=0]-timm:resnet18@small", [])
    assert re.fullmatch(r"[\w.@+=,-]+", name)
    assert unique_name("a b", ["a_b"]) == "a_b~2"
