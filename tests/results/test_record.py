"""What a record may say of pictures."""

import pytest

from results.record import Picture


@pytest.mark.parametrize(
    "file", ["/etc/passwd", "../other/a.png", "evaluations/../../a.png", "evaluations/page.svg", "", "a.png/.."]
)
def test_a_picture_lies_within_the_folder_of_its_run(file):
    with pytest.raises(ValueError, match="no PNG file within the run's folder"):
        Picture("graph", "cifar10", file)


def test_a_picture_in_a_subfolder():
    assert Picture("graph", "cifar10", "evaluations/a.png").file == "evaluations/a.png"
