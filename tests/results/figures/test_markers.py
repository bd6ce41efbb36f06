"""Colours and markers of methods."""

from results.figures.markers import BASELINE_STYLES, COLOURS, KNOWN, method_styles


def test_styles_are_distinct_and_do_not_change():
    names = [f"method{number}" for number in range(30)]
    methods = {**dict.fromkeys(names, ""), "supervised": "upper", "random": "lower"}
    found = method_styles(methods)
    assert len({(style.colour, style.marker) for style in found.values()}) == len(methods)
    few = dict.fromkeys(["simclr", "relational", "byol"], "")
    assert method_styles(few) == {name: method_styles({**few, "supervised": "upper"})[name] for name in few}
    assert len({style.colour for style in method_styles(few).values()}) == 3
    assert len(COLOURS) == len(set(COLOURS))


def test_known_methods_look_the_same_whatever_they_are_compared_with():
    alone = {name: method_styles({name: ""})[name] for name in KNOWN}
    assert len(set(alone.values())) == len(KNOWN)
    others = [*(f"method{number}" for number in range(30)), *(f"simclr[temperature={t}]" for t in range(9))]
    found = method_styles(dict.fromkeys([*others, *KNOWN], ""))
    assert {name: found[name] for name in KNOWN} == alone
    assert len(set(found.values())) == len(found)


def test_of_several_baselines_of_a_kind_one_is_black():
    found = method_styles({"supervised[epochs=9]": "upper", "supervised": "upper", "noise": "lower"})
    assert found["supervised"] == BASELINE_STYLES["upper"]
    assert found["noise"] == BASELINE_STYLES["lower"]
    assert found["supervised[epochs=9]"].colour in COLOURS
    found = method_styles({"supcon": "upper", "supervised": "upper"})
    assert found["supervised"] == BASELINE_STYLES["upper"]
    assert found["supcon"] == method_styles({"supcon": ""})["supcon"]
