"""What tests of reports share."""

import pytest

from results import report


@pytest.fixture
def no_figures(monkeypatch):
    """Leave the figures of tables out, which are most of the time of a small report."""
    monkeypatch.setattr(report, "draw_all", lambda *_, **__: {})
