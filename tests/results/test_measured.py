"""The committed results: what they say of themselves still holds."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from protocols.spec import protocol as protocols
from protocols.spec.labels import parse_label
from protocols.spec.resolve import missing_evaluations, resolve
from protocols.spec.run import Run

MEASURED = Path(__file__).parents[2] / "results" / "measured"
RECORDS = sorted(MEASURED.glob("**/record.json"))


def test_there_are_some():
    assert RECORDS


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.parent.name)
def test_a_measured_run_is_known_by_the_same_name_today(path):
    """Else the command that made it would not find it, and growing the code would have cost a retraining."""
    record = json.loads(path.read_text(encoding="utf-8"))
    run = Run.from_config({**record["run"], "evaluations": ()})
    assert run.fingerprint() == record["run"]["fingerprint"]
    assert run.folder() == path.parent.name


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.parent.name)
def test_a_measured_run_can_be_traced(path):
    record = json.loads(path.read_text(encoding="utf-8"))
    assert len(record["provenance"]["commit"]) == 40
    assert not record["provenance"]["dirty"]
    assert not any(f"{word}/" in json.dumps(record) for word in ("/tmp", "/home", "/root"))  # noqa: S108


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.parent.name)
def test_a_measured_run_asked_for_again_has_nothing_to_run_or_measure(path):
    """Its protocol, labels and seed, as one would type them, give its folder's name and no evaluation that it lacks.

    Data sets and refinements are asked for one by one: not every evaluation was made on all and after all of them.
    """
    record = json.loads(path.read_text(encoding="utf-8"))
    stored = record["run"]
    name = stored["preset"] or stored["protocol"]
    beside = path.parents[1] / f"{name}.toml"  # a protocol that a search for hyper-parameters has written
    protocol, asked = protocols.load(str(beside) if beside.exists() else name), {}
    changes = parse_label(stored["label"])[1]
    augmentations = {key: changes.pop(key) for key in list(changes) if isinstance(changes[key], dict)}
    for one in stored["evaluations"]:
        after = one["refinement"]["label"] if one["refinement"] else ""
        asked.setdefault((one["dataset"]["name"], after), []).append(one["label"])
    assert asked
    for (dataset, after), labels in asked.items():
        run = resolve(
            protocol,
            method=stored["method"]["label"],
            dataset=stored["dataset"]["name"],
            backbone=stored["backbone"]["name"],
            seed=stored["seed"],
            changes={"pretrain": changes, "recipes": augmentations},
            data=Path("data"),
            evaluate=labels,
            refine=[after] if after else [],
            evaluate_on=[dataset],
        )
        assert run.folder() == path.parent.name
        assert run.label == stored["label"]
        wanted = [one for one in run.evaluations if (one.refinement.label if one.refinement else "") == after]
        assert [one.label for one in wanted] == labels
        assert missing_evaluations(replace(run, evaluations=tuple(wanted)), record) == ()
