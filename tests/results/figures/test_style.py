"""The style of all figures, and that the same numbers make the same files."""

from results.figures.draw import draw_figure
from results.figures.style import save


def test_axes_show_no_impossible_percentages(store, runs, data_of):
    for seed, value in enumerate((60.0, 99.0)):
        store({"linear": value}, seed=seed)
    (axes,) = draw_figure("accuracy", data_of(runs)).axes
    assert axes.get_xlim() == (-2, 102)
    for seed, value in enumerate((60.0, 99.0)):
        store({"linear": value}, method="byol", seed=seed, views=200_000)
    for axes in draw_figure("cost", data_of(runs)).axes:
        assert axes.get_ylim() == (-2, 102)


def test_files_are_the_same_every_time(made, tmp_path):
    contents = []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        paths = save(draw_figure("accuracy", made), folder, "accuracy")
        assert [path.suffix for path in paths] == [".svg", ".png", ".pdf"]
        contents.append([path.read_bytes() for path in paths])
    assert contents[0] == contents[1]
    assert sorted(path.name for path in folder.iterdir()) == ["accuracy.pdf", "accuracy.png", "accuracy.svg"]


def test_a_dollar_in_a_label_is_no_formula(store, runs, tmp_path, data_of):
    store({"linear": 60.0}, method_label="simclr[a=$x_1$,b=$]")
    save(draw_figure("accuracy", data_of(runs)), tmp_path, "accuracy")
