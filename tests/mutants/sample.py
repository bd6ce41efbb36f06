"""Which changes are tried, and which tests are asked about each."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

from tests.mutants.operators import Mutant, mutants_of

if TYPE_CHECKING:
    from pathlib import Path

CORE = (
    "protocols/augment",
    "protocols/pretrain",
    "methods",
    "protocols/evaluate",
    "protocols/features",
    "protocols/spec",
    "results/analysis",
)
"""Where numbers are made."""

AUGMENT = "tests/protocols/augment/test_augment.py"
CONTRACT = "tests/methods/test_contract.py"
DEVICES = "tests/protocols/test_devices.py"
EVALUATE = "tests/protocols/evaluate/test_evaluate.py"
EVALUATOR = "tests/protocols/evaluate/test_evaluator.py"
MEASURED = "tests/results/test_measured.py"
MEASURED_BEFORE = "tests/results/test_measured_before.py"
OPTIONS = "tests/protocols/spec/test_json_schema.py[committed]"
PARALLEL = "tests/protocols/pretrain/test_data_parallel.py"
PRETEND_GPU = "tests/pretend_gpu/test_pretend_gpu.py"
PROPERTIES = "tests/protocols/test_run_properties.py"
RUNNER = "tests/protocols/test_runner.py"

EXTRA_TESTS: dict[str, tuple[str, ...]] = {
    "protocols/augment/affine": ("tests/protocols/evaluate/test_finetune.py", DEVICES),
    "protocols/augment/augmenter": (AUGMENT, DEVICES, PROPERTIES),
    "protocols/augment/colour_jitter": (AUGMENT, DEVICES),
    "protocols/augment/crop": (f"{AUGMENT}[crop,whole]", DEVICES),
    "protocols/augment/gpu_kernels": ("tests/protocols/augment/test_gpu_views.py",),
    "protocols/augment/parameters": (f"{AUGMENT}[crop,whole,parameters,probabilities,leaves,identical]", PROPERTIES),
    "protocols/augment": (f"{AUGMENT}[{{name}},whole,of_nothing,blur,grayscale_and]", DEVICES, PROPERTIES),
    "protocols/pretrain/build": (PROPERTIES, f"{RUNNER}[size,recipe,another_image,lacks,trial]", f"{PARALLEL}[byol]"),
    "protocols/pretrain/checkpoint": (f"{RUNNER}[pace,10-byol]",),
    "protocols/pretrain/data_parallel": (f"{PARALLEL}[byol,shared]",),
    "protocols/pretrain/lars": ("tests/protocols/pretrain/test_optimizers.py",),
    "protocols/pretrain/loop": (
        PROPERTIES,
        f"{RUNNER}[size,recipe,another_image,before_an_epoch,not_a_number,keeps_the_precision,no_graph]",
    ),
    "protocols/pretrain/process_group": (f"{PARALLEL}[shared_run]", "tests/protocols/pretrain/test_worker.py"),
    "protocols/pretrain/schedules": ("tests/protocols/pretrain/test_optimizers.py",),
    "protocols/pretrain/stage": (PROPERTIES, f"{RUNNER}[keeps,further,leaves]"),
    "protocols/pretrain/worker": (f"{PARALLEL}[shared_run,another_rank]",),
    "protocols/pretrain/step_graph": (PROPERTIES, f"{PRETEND_GPU}[get_wrong]"),
    "protocols/pretrain": (PROPERTIES,),
    "methods/__init__": ("tests/methods/test_base.py", "tests/methods/test_ema.py"),
    "methods/base": (f"{CONTRACT}[simclr,deepinfomax]", PROPERTIES),
    "methods/clustering": (f"{CONTRACT}[deepcluster]",),
    "methods/ema": (PROPERTIES, f"{CONTRACT}[byol]"),
    "methods/graph": ("tests/methods/test_graph_nnclr.py", "tests/methods/test_adasim.py"),
    "methods/heads": (f"{CONTRACT}[simclr,dino]",),
    "methods/losses": ("tests/methods/test_against_lightly.py",),
    "methods/masking": (f"{CONTRACT}[mae]", DEVICES),
    "methods/memory": (PROPERTIES, f"{CONTRACT}[mocov2]"),
    "methods/momentum": ("tests/methods/test_ema.py",),
    "methods/random_weights": (f"{CONTRACT}[random]", PROPERTIES),
    "methods/registry": ("tests/methods/test_base.py", "tests/results/test_registry.py"),
    "methods/relation": ("tests/methods/test_relational.py",),
    "methods/adasim": ("tests/methods/test_graph_nnclr.py", f"{CONTRACT}[adasim]", OPTIONS),
    "methods/state_names": (f"{CONTRACT}[simclr]",),
    "methods/supervised": (f"{CONTRACT}[supervised]", DEVICES, PROPERTIES),
    "methods/weight_files": ("tests/methods/test_pretrained.py",),
    "methods": (
        "tests/methods/test_against_lightly.py",
        f"{CONTRACT}[{{name}}]",
        OPTIONS,
        DEVICES,
        PROPERTIES,
        f"{PRETEND_GPU}[takes_one_copy[{{name}}]",
    ),
    "protocols/evaluate/evaluator": (
        f"{EVALUATOR}[normalisation,further_target,contact_sheet,variants,stopped]",
        PROPERTIES,
    ),
    "protocols/evaluate/finetune": (OPTIONS,),
    "protocols/evaluate/knn_of_other_projects": ("tests/protocols/evaluate/test_of_other_projects.py", OPTIONS),
    "protocols/evaluate/linear_of_other_projects": ("tests/protocols/evaluate/test_of_other_projects.py", OPTIONS),
    "protocols/evaluate": (EVALUATE, OPTIONS, DEVICES, PROPERTIES),
    "protocols/features/neighbours": (EVALUATE,),
    "protocols/features": (EVALUATE, PROPERTIES, f"{EVALUATOR}[normalisation,asks_for]"),
    "protocols/spec/execution": ("tests/slurm/test_launch.py", "tests/slurm/test_pool.py"),
    "protocols/spec/plugins": (
        "tests/protocols/datasets/test_load.py[cannot_be,unknown]",
        "tests/protocols/spec/test_grid.py",
        MEASURED,
    ),
    "protocols/spec/repeat": ("tests/protocols/spec/test_repeat.py", MEASURED),
    "protocols/spec/schema": ("tests/protocols/spec/test_resolve.py", "tests/protocols/spec/test_plugins.py"),
    "protocols/spec": ("tests/protocols/spec/test_resolve.py", "tests/protocols/spec/test_grid.py", MEASURED),
    "results/analysis/label_free": ("tests/results/report/sections/test_label_free.py", MEASURED_BEFORE),
    "results/analysis/published_tables": ("tests/results/report/sections/test_published.py", MEASURED_BEFORE),
    "results/analysis/refinements": ("tests/results/report/sections/test_refinements.py", MEASURED_BEFORE),
    "results/analysis/sensitivity": ("tests/results/report/sections/test_methods.py", MEASURED_BEFORE),
    "results/analysis/tables": ("tests/results/report/sections/test_methods.py", MEASURED_BEFORE),
    "results/analysis": (MEASURED_BEFORE,),
}
"""Tests beside the one that mirrors a module, by the beginning of its path; of several beginnings the longest.

Brackets choose among the tests of a file those whose name contains one of the words; ``{name}`` is the module's.
"""


def core_modules(tree: Path) -> list[str]:
    """The modules of the core, by path."""
    return sorted(path.relative_to(tree).as_posix() for folder in CORE for path in (tree / folder).glob("*.py"))


def sample(tree: Path, count: int, seed: int) -> list[Mutant]:
    """So many changes of the core, the same for the same code: of every module in turn, by every operator in turn."""
    modules = core_modules(tree)
    random.Random(seed).shuffle(modules)
    queues = [
        shuffled(mutants_of(module, (tree / module).read_text("utf-8")), f"{seed}/{module}") for module in modules
    ]
    return in_turn(queues)[:count]


def in_turn(queues: list[list[Mutant]]) -> list[Mutant]:
    """The first of every queue, then the second of every queue, and so on."""
    return [mutant for some in itertools.zip_longest(*queues) for mutant in some if mutant is not None]


def shuffled(mutants: list[Mutant], seed: str) -> list[Mutant]:
    """Changes of one module in random order, the operators in turn, so that frequent ones do not crowd out the rest."""
    generator = random.Random(seed)
    by_operator: dict[str, list[Mutant]] = {}
    for mutant in generator.sample(mutants, len(mutants)):
        by_operator.setdefault(mutant.operator, []).append(mutant)
    queues = generator.sample(sorted(by_operator.values(), key=lambda some: some[0].operator), len(by_operator))
    return in_turn(queues)


def mapped_tests(module: str, tree: Path) -> list[str]:
    """The test files of a module: the one in its place below ``tests``, if there is one, then those of the table."""
    path = module.removesuffix(".py")
    folder, _, name = path.rpartition("/")
    mirror = f"tests/{folder}/test_{name}.py"
    beginnings = [beginning for beginning in EXTRA_TESTS if f"{path}/".startswith(f"{beginning}/")]
    extra = EXTRA_TESTS[max(beginnings, key=len)] if beginnings else ()
    chosen = {text.partition("[")[0]: text for text in (mirror, *(text.format(name=name) for text in extra))}
    return [text for file, text in chosen.items() if (tree / file).is_file()]
