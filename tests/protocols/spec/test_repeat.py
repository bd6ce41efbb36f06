"""A run is repeated from its record alone, code included."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from protocols.runner import execute
from protocols.spec.execution import ExecutionContext
from protocols.spec.grid import Request, expand
from protocols.spec.plugins import METHODS
from protocols.spec.repeat import run_of_record
from protocols.system.progress import ProgressListener
from results.errors import RequestError

MEASURED = Path(__file__).parents[3] / "results" / "measured"

PLUGIN = '''
"""A loss that pulls views together."""

from dataclasses import dataclass

from torch import nn

from bench import Method, register_method


@register_method("pulling")
class Pulling(Method):
    """Squared distance of two views."""

    @dataclass(frozen=True)
    class Options:
        """None."""

        width: int = 16

    def __init__(self, backbone, options, info):
        super().__init__(backbone, options, info)
        self.head = nn.Linear(backbone.dim, options.width)

    def forward(self, batch):
        first, second = self.head(self.backbone(batch.views)).float().chunk(2)
        return {"loss": (first - second).square().mean()}
'''


def forget():
    """Forget the plugin, as in another process."""
    METHODS._files.pop("pulling", None)
    METHODS._loaded.pop("pulling", None)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A finished run of a plugin; its record is the only file of it that is left."""
    folder = tmp_path_factory.mktemp("theirs")
    (plugin := folder / "pulling.py").write_text(PLUGIN)
    (run,) = expand(Request([str(plugin)], ["digits"], seeds=[3], evaluations=["knn"], views=2600), folder)
    execute(run, ExecutionContext(folder, folder, "cpu"), ProgressListener())
    record = shutil.copy(folder / run.folder() / "record.json", tmp_path_factory.mktemp("sent") / "record.json")
    shutil.rmtree(folder)
    forget()
    return run, record


def changed(record, tmp_path, change):
    content = json.loads(record.read_text())
    del content["sha256"]
    change(content)
    (path := tmp_path / "changed.json").write_text(json.dumps(content))
    return path


def test_code_is_shown_and_not_executed_without_permission(original, tmp_path):
    run, record = original
    lines = []
    with pytest.raises(RequestError, match="--allow-code"):
        run_of_record(record, tmp_path / "mine", allow_code=False, show=lines.append)
    digest = hashlib.sha256(PLUGIN.encode()).hexdigest()
    assert lines == [f"{record} brings the plugin {run.plugins[0]}, sha256 {digest}"]
    assert not (tmp_path / "mine").exists()


def test_the_same_run_gives_the_same_numbers(original, tmp_path):
    run, record = original
    again = run_of_record(record, tmp_path, allow_code=True, show=print)
    assert again.folder() == run.folder()
    digest = hashlib.sha256(PLUGIN.encode()).hexdigest()
    assert [Path(path).parent.name for path in again.plugins] == [digest[:16]]
    repeated = execute(again, ExecutionContext(tmp_path, tmp_path, "cpu"), ProgressListener())
    theirs = json.loads(record.read_text())
    assert [metric.value for metric in repeated.metrics] == [metric["value"] for metric in theirs["metrics"]]
    assert repeated.history[0]["loss"] == theirs["history"][0]["loss"]


def test_a_run_of_an_earlier_version_keeps_its_folder_and_its_place_in_tables():
    for name, baseline in (("simclr", ""), ("random", "lower"), ("supervised", "upper")):
        (path,) = MEASURED.glob(f"quick-shapes/shapes-conv4-{name}-s0-*")
        run = run_of_record(path, path.parent, allow_code=False, show=print)
        assert (run.folder(), run.baseline) == (path.name, baseline)


def test_other_code_than_the_run_was_made_with_is_refused(original, tmp_path):
    run, record = original

    def exchange(content):
        content["provenance"]["plugin_sources"][run.plugins[0]] += "\nprint('other')\n"

    forget()
    with pytest.raises(RequestError, match="pulling was changed"):
        run_of_record(changed(record, tmp_path, exchange), tmp_path, allow_code=True, show=print)
    forget()


def test_what_is_no_whole_record_is_refused(original, tmp_path):
    _, record = original
    with pytest.raises(RequestError, match="does not have the source"):
        run_of_record(
            changed(record, tmp_path, lambda content: content["provenance"].pop("plugin_sources")),
            *(tmp_path,),
            allow_code=True,
            show=print,
        )
    with pytest.raises(RequestError, match="was changed: its configuration"):
        run_of_record(
            changed(record, tmp_path, lambda content: content["run"]["pretrain"].update(lr=0.5)),
            *(tmp_path,),
            allow_code=True,
            show=print,
        )
    with pytest.raises(RequestError, match="no record in"):
        run_of_record(tmp_path, tmp_path, allow_code=True, show=print)


@pytest.mark.parametrize("source", [None, 5, "", "\ud800"])
def test_a_record_of_strange_sources_costs_a_line(original, tmp_path, source):
    run, record = original
    for sources in ({run.plugins[0]: source}, [source], source):
        path = changed(record, tmp_path, lambda content, new=sources: content["provenance"].update(plugin_sources=new))
        with pytest.raises(RequestError, match="does not have the source"):
            run_of_record(path, tmp_path / "mine", allow_code=True, show=print)
    for key, value, complaint in (
        ("run", 5, r"changed\.json is damaged: record\.run: expected"),
        ("schema", 99, r"changed\.json was written by a newer bench; update bench"),
        ("schema", "1", r"changed\.json is damaged: it is no record"),
    ):
        path = changed(record, tmp_path, lambda content, new=(key, value): content.update([new]))
        with pytest.raises(RequestError, match=complaint):
            run_of_record(path, tmp_path / "mine", allow_code=True, show=print)
    path.write_bytes(record.read_bytes()[:100])
    with pytest.raises(RequestError, match=r"changed\.json is damaged"):
        run_of_record(path, tmp_path / "mine", allow_code=True, show=print)
    assert not (tmp_path / "mine").exists()
