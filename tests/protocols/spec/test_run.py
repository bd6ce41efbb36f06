"""What a run's configuration holds, beside what earlier versions wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from protocols.spec.run import Run, digest_of, shortened
from results.store import read_json

MEASURED = Path(__file__).parents[3] / "results" / "measured"
CONFIGS = sorted(MEASURED.glob("*/*/config.json"))[::7]


def keys_of(value, path=""):
    if not isinstance(value, dict):
        return {path}
    return set().union(*(keys_of(inner, f"{path}.{key}") for key, inner in value.items())) if value else {path}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.parent.name)
def test_a_configuration_is_written_as_earlier_versions_wrote_it(path):
    """Else runs of two versions would count as different settings of one method, and not be averaged.

    Keys that came between the record and 4775236 may be added; the baseline describes the method and is not compared.
    """
    stored = read_json(path)
    written = json.loads(json.dumps(Run.from_config(stored).config()))
    assert written["fingerprint"] == stored["fingerprint"]
    later = {
        ".baseline",
        ".preset",
        ".pretrain.final_weight_decay",
        ".pretrain.trust",
        ".pretrain.clip_trust",
        ".pretrain.clip",
    }
    assert keys_of(stored) <= keys_of(written)
    assert {key for key in keys_of(written) - keys_of(stored) if ".evaluations" not in key} <= later


def test_what_is_no_json_has_no_digest():
    """NaN is written in other ways by other programs, and differs from itself."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest_of({"lr": float("nan")})


@pytest.mark.parametrize("name", ["folder:" + "x/" * 400, "folder:" + "画像" * 200, "folder:" + "é" * 150])
def test_names_of_any_length_and_script_make_short_folder_names(name):
    config = read_json(CONFIGS[0])
    config["dataset"]["name"] = name
    run = Run.from_config(config)
    folder = run.folder()
    assert len(folder.encode()) < 255
    assert "/" not in folder
    assert folder.endswith(f"-{run.fingerprint()[:8]}")


@pytest.mark.parametrize("word", ["a" * 300, "ö" * 300, "名" * 300, "ab名" * 90])
@pytest.mark.parametrize("most", [20, 21, 49, 50, 200])
def test_a_shortened_word_has_its_beginning_and_end_and_at_most_so_many_bytes(word, most):
    short = shortened(word, most)
    first, last = short.split("..")
    assert most - 8 < len(short.encode()) <= most  # a letter that is cut is left out
    assert word.startswith(first)
    assert word.endswith(last)
    assert abs(len(first.encode()) - len(last.encode())) <= 4
    assert shortened(word[:5], most) == word[:5]
