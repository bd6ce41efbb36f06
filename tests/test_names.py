"""Names of earlier versions that were replaced by the words of the field do not come back."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PACKAGES = ("bench", "methods", "protocols", "results", "slurm")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

REPLACED = {
    "ExecutionContext": "Place",
    "max_parallel_runs": "room",
    "ProgressListener": "Watch",
    "advance_or_stop": "reach",
    "RunProgress": "View",
    "index, indices": "place places",
    "COLUMN_KEYS": "PLACE",
    "EvaluationContext": "Subject",
    "RetrievalResult, contact_sheet": "Shown sheet",
    "affine": "warp",
    "Augmentation": "Recipe recipe recipes",
    "RunInfo": "Setting",
    "Component": "Part",
    "fairness": "track",
    "extra_state, views_per_image, source_indices": "keepsakes passes sources",
    "EMA, update, cosine_schedule": "MomentumCopy follow cosine_between",
    "query_and_update": "meet",
    "RingBuffer": "Ring",
    "PairIndex, SegmentIndex": "Meetings Bags",
    "validate, prototypes_trainable, NetworkOutput": "refuse thawed Seen",
    "NetworkFeatures, student, recorded_neighbours": "Stream recorded",
    "extract_features": "represent",
    "PretrainJob, train_step, prefetch": "Job take_step expect",
    "HostImages": "FarImages",
    "local_slice, LocalViews, local_images, all_gather": "own among mine gathered",
    "launch_ranks, run_rank, shutdown, init_process_group": "together assist leave join",
    "make_backbone_parallel": "share",
    "names in _TIMEOUT_S": "FAREWELL PATIENCE SILENCE GRACE",
    "PIXELS_PER_BLOCK, MIN_COMPILE_NUMEL": "CACHEFUL LEAST",
    "trust_coefficient, clip_trust_ratio, max_grad_norm": "trust clip_trust clip",
    "config_key, unique_parts, load_or_compute": "kin unlike kept",
    "missing_evaluations, with_evaluations": "lacking together_with",
    "method_styles, MarkerStyle, TRANSDUCTIVE_MARK": "looks Look LEAKS",
    "assume_present, compare_with_published, status_reason": "nowhere beside_published fate",
    "display_label, format_ranges": "named listed",
    "disambiguate_methods": "separate",
    "select_retries, exclude_active, submit_batches": "again not_sent send",
    "made_progress, no_progress_marker": "got_on stuck",
    "neighbour_mean, no_edges, append_input": "averaged isolated beside",
    "use_reference_ops": "make_plain plain",
    "optimizer": "optimiser optimisers",
}
"""Present names, and the earlier ones that they replace."""

EARLIER = {old: new for new, names in REPLACED.items() for old in names.split()}

COMPATIBILITY = {
    ("methods/base.py", "Setting"): "alias for plugins of earlier versions",
    ("methods/momentum.py", "MomentumCopy"): "alias for plugins of earlier versions",
    ("methods/momentum.py", "cosine_between"): "alias for plugins of earlier versions",
    ("methods/momentum.py", "follow"): "alias for plugins of earlier versions",
    ("methods/deepinfomax.py", "places"): "an option of the method, part of the hashes of stored runs",
}
"""Where an earlier name stays, and why."""


def names_of(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every name that a module defines: classes, functions, parameters, variables, attributes; with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno
        elif isinstance(node, ast.alias) and node.asname:
            yield node.asname, node.lineno


def attributes_of(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every attribute that a module's classes or instances are given."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for item in node.body:
                if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                    yield item.target.id, item.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_earlier_name(path: Path) -> None:
    module = path.relative_to(ROOT).as_posix()
    found = [
        f"line {line}: {name} is now {EARLIER[name]}"
        for name, line in names_of(ast.parse(path.read_text(encoding="utf-8")))
        if name in EARLIER and (module, name) not in COMPATIBILITY
    ]
    assert not found


def test_the_second_network_is_the_student() -> None:
    """``second`` may number two of a kind, but an attribute of that name says nothing; stored weights bear it."""
    stored = ROOT / "protocols" / "backbones" / "small.py"
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in MODULES if path != stored}
    assert not [path.name for path, tree in trees.items() if "second" in {name for name, _ in attributes_of(tree)}]


def test_every_exception_is_needed() -> None:
    """A name that is no longer there needs no exception."""
    for module, name in COMPATIBILITY:
        tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
        assert name in {found for found, _ in names_of(tree)}, (module, name)


@pytest.mark.parametrize(
    "code", ["class Watch: ...", "def kept(): ...", "def f(place): ...", "self.share = 1", "with a as sheet: ..."]
)
def test_a_definition_is_found(code: str) -> None:
    assert EARLIER.keys() & {name for name, _ in names_of(ast.parse(code))}
