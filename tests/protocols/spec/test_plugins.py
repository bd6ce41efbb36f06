"""Plugin files: what they register, what is refused, and what of them a run is known by."""

import json
import re
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from protocols.spec import protocol as protocols
from protocols.spec.grid import Request, add_plugins, expand
from protocols.spec.plugins import EVALUATIONS, METHODS, REFINEMENTS, add_file, load_files
from protocols.spec.resolve import load_plugins, missing_evaluations
from protocols.spec.run import Run
from results.errors import BrokenPlugin, RequestError


@pytest.fixture
def write(tmp_path):
    """Writes a plugin file; returns its path."""

    def make(text, name="mine.py"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    return make


def run_of(*settings, **words) -> Run:
    """The only run of a request."""
    request = {"methods": ["simclr"], "datasets": ["digits"], "seeds": [0], "evaluations": ["knn"], **words}
    (run,) = expand(Request(**request, settings=settings), Path("data"))
    return run


METHOD = textwrap.dedent('''
    from dataclasses import dataclass
    from pathlib import Path
    from bench import Method, register_method

    @register_method("mine")
    class Mine(Method):
        """Mine."""

        @dataclass(frozen=True)
        class Options:
            """Options."""

            weight: float = 0.5
            weights: Path | None = None
''')
EVALUATION = textwrap.dedent('''
    from pathlib import Path
    from bench import register_evaluation

    @register_evaluation("labels")
    def labels(features, *, file: Path | None = None):
        """Labels."""
        return {"lines": float(len(file.read_text().splitlines()))}
''')
BACKBONE = textwrap.dedent('''
    from bench import register_backbone

    @register_backbone("fam", argument="MODEL")
    def fam(name):
        """A family of backbones."""
''')


def test_two_backbones_of_one_plugin_are_told_apart(write):
    file = write(BACKBONE)
    both = [run_of(plugins=[file], backbones=[f"fam:{name}"]) for name in ("resnet18", "resnet50")]
    assert len({run.fingerprint() for run in both}) == 2
    assert both[0].backbone.source == both[1].backbone.source != ""


@pytest.mark.parametrize(
    ("declared", "name", "complaint"),
    [
        ("", "fam:resnet18", "fam takes nothing after a colon, and got 'resnet18'; write fam, or declare argument= in"),
        (', argument="MODEL"', "fam", "fam needs more than its name; write fam:MODEL"),
        (', argument="MODEL"', "fam:", "fam needs more than its name; write fam:MODEL"),
        (', argument="[MODEL]"', "fam", None),
    ],
)
def test_a_backbone_declares_what_follows_the_colon(write, declared, name, complaint):
    file = write(BACKBONE.replace(', argument="MODEL"', declared))
    if complaint is None:
        assert run_of(plugins=[file], backbones=[name]).backbone.name == name
        return
    with pytest.raises(RequestError, match=re.escape(complaint)):
        run_of(plugins=[file], backbones=[name])


@pytest.mark.parametrize("change", ["\n# a comment\n", "\nx = 1\n"])
def test_a_change_of_a_file_is_a_change_of_its_runs(write, change):
    first = run_of(methods=[write(METHOD)])
    second = run_of(methods=[write(METHOD + change)])
    assert first.fingerprint() != second.fingerprint()
    with pytest.raises(RequestError, match="mine was changed after the run was planned; repeat the command"):
        load_plugins(first)
    load_plugins(second)


def test_where_a_file_lies_changes_nothing(write):
    first = run_of(methods=[write(METHOD)]).fingerprint()
    assert run_of(methods=[write(METHOD, "elsewhere.py")]).fingerprint() == first


def test_a_file_that_a_run_does_not_use_changes_nothing(write):
    assert run_of(plugins=[write(METHOD)]).fingerprint() == run_of().fingerprint()


def test_an_option_that_names_a_file_is_known_by_the_content_of_the_file(write, tmp_path):
    file = write(METHOD)
    for name, text in (("a", "1"), ("b", "2"), ("c", "1")):
        (tmp_path / name).write_text(text)
    a, b, c = (run_of(f"mine.weights={tmp_path / name}", methods=[file]) for name in "abc")
    assert a.fingerprint() == c.fingerprint() != b.fingerprint()
    assert str(tmp_path) not in json.dumps(a.method.identity())
    (tmp_path / "a").write_text("3")
    with pytest.raises(RequestError, match=r"the file of mine\.weights was changed after the run was planned"):
        load_plugins(a)


def test_so_is_that_of_an_evaluation(write, tmp_path):
    file = write(EVALUATION)
    (tmp_path / "a").write_text("1")
    before = run_of(f"labels.file={tmp_path / 'a'}", evaluations=[file])
    (tmp_path / "a").write_text("2")
    after = run_of(f"labels.file={tmp_path / 'a'}", evaluations=[file])
    assert before.fingerprint() == after.fingerprint()
    assert before.evaluations[0].identity() != after.evaluations[0].identity()


def test_a_missing_file_of_an_option_is_refused(write):
    with pytest.raises(RequestError, match=r"labels\.file: no such file: nowhere"):
        run_of("labels.file=nowhere", evaluations=[write(EVALUATION)])


def test_the_source_of_what_is_built_in_is_no_part_of_a_run():
    run = run_of("pretrain.optimizer=lars", "recipes.light.operations.cutout.size=0.5", refinements=["graph"])
    parts = [run.method, run.dataset, run.backbone, *run.evaluations, run.evaluations[-1].refinement]
    assert [part.source for part in parts] == [""] * len(parts)
    assert run.extras == ()


def test_a_method_file_of_an_earlier_version_keeps_its_folder(write):
    """It was stored with the source as the digest of the method."""
    run = run_of(methods=[write(METHOD)])
    config = run.config()
    config["method"] = {**config["method"], "digest": run.method.source}
    for key in ("source", "files"):
        config["method"].pop(key, None)
    earlier = Run.from_config(config)
    assert earlier.folder() == run.folder()
    load_plugins(earlier)


def test_added_settings_at_their_defaults_are_not_in_the_fingerprint():
    base = run_of().fingerprint()
    assert run_of("pretrain.betas=[0.9,0.999]", "pretrain.step_factor=0.1").fingerprint() == base
    assert run_of("pretrain.betas=[0.9,0.99]").fingerprint() != base
    assert run_of("recipes.standard.operations.cutout.size=0.25").fingerprint() != base


def test_an_option_that_a_plugin_adds_leaves_its_runs_valid(monkeypatch):
    """Of a built-in plugin, whose source is no part of the identity; of any kind."""
    before = run_of(refinements=["graph"])
    for registry, name in ((METHODS, "simclr"), (EVALUATIONS, "knn"), (REFINEMENTS, "graph")):
        entry = registry.describe(name)
        later = replace(entry, options={**entry.options, "later": 0.5}, added=(*entry.added, "later"))
        monkeypatch.setitem(registry._built_in, name, later)
    after = run_of(refinements=["graph"])
    assert after.config() == before.config()
    assert run_of("simclr.later=0.5").fingerprint() == before.fingerprint()
    assert run_of("simclr.later=0.6").fingerprint() != before.fingerprint()
    changed = run_of("knn.later=0.6", "graph.later=0.6", refinements=["graph"])
    assert {part.identity()["options"].get("later") for part in changed.evaluations} == {0.6}
    assert changed.evaluations[1].refinement.options["later"] == 0.6
    assert missing_evaluations(after, {"run": before.config()}) == ()
    assert len(missing_evaluations(changed, {"run": before.config()})) == 2


def test_an_added_option_has_to_exist(write):
    path = write(METHOD.replace('@register_method("mine")', '@register_method("mine", added=("more",))'))
    with pytest.raises(BrokenPlugin, match="has no option 'more'"):
        add_file(Path(path))


def test_an_option_that_every_evaluation_has_is_not_a_plugins(write):
    with pytest.raises(BrokenPlugin, match="has an option 'image_size', as every evaluation has"):
        add_file(Path(write(EVALUATION.replace("file: Path | None", "image_size: int | None"))))


EXTRAS = textwrap.dedent('''
    from bench import register_augmentation, register_optimizer, register_schedule

    @register_optimizer("slow")
    def slow(parameters, pretrain, *, factor: float = 0.5):
        """Slow."""

    @register_schedule("late")
    def late(progress, pretrain, *, start: float = 0.5):
        """Late."""

    @register_augmentation("grid", uniforms=1)
    def grid(views, u, *, width: int = 3):
        """Grid."""
''')
USED = {
    "slow": ("pretrain.optimizer=slow", "pretrain.optimizer_options.factor=0.25"),
    "late": ("pretrain.schedule=late", "pretrain.schedule_options.start=0.25"),
    "grid": ("recipes.standard.operations.grid.width=3", "recipes.standard.operations.grid.width=4"),
}


@pytest.mark.parametrize("name", USED)
def test_what_a_run_names_within_its_settings_is_part_of_it(write, name):
    use, change = USED[name]
    file = write(EXTRAS)
    run, changed = run_of(use, plugins=[file]), run_of(use, change, plugins=[file])
    assert [extra.name for extra in run.extras] == [name]
    edited = run_of(use, plugins=[write(EXTRAS + "\n# changed\n")])
    assert len({run.fingerprint(), changed.fingerprint(), edited.fingerprint()}) == 3
    with pytest.raises(RequestError, match=f"{name} was changed after"):
        load_plugins(run)


@pytest.mark.parametrize("name", USED)
def test_an_unknown_option_of_it_is_refused(write, name):
    use, change = USED[name]
    path = change.partition("=")[0].rpartition(".")[0]
    with pytest.raises(RequestError, match=f"{name} has no option 'x'"):
        run_of(use, f"{path}.x=1", plugins=[write(EXTRAS)])


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("pretrain.optimizer=adan", "unknown optimizer 'adan'; did you mean adam"),
        ("pretrain.schedule=cosin", "unknown schedule 'cosin'; did you mean cosine"),
        ("recipes.standard.operations.cutot.size=1", "unknown augmentation 'cutot'; did you mean cutout"),
    ],
)
def test_a_misspelt_name_is_refused_with_a_suggestion(setting, complaint):
    with pytest.raises(RequestError, match=complaint):
        run_of(setting)


def test_settings_of_extras_may_stand_in_a_protocol(write, tmp_path):
    text = """
        name = "mine"
        extends = "quick"
        summary = "mine"
        [pretrain]
        optimizer = "slow"
        optimizer_options.factor = 0.25
        schedule = "late"
        schedule_options.start = 0.75
        [recipes.standard.operations.grid]
        width = 5
        """
    (tmp_path / "mine.toml").write_text(textwrap.dedent(text))
    run = run_of(plugins=[write(EXTRAS)], protocol=str(tmp_path / "mine.toml"))
    assert [extra.options for extra in run.extras] == [{"factor": 0.25}, {"start": 0.75}, {"width": 5}]
    assert Run.from_config(json.loads(json.dumps(run.config()))).fingerprint() == run.fingerprint()


SMALL = 'name = "mine"\nextends = "quick"\nsummary = "mine"\n[recipes.small]\nadded = true\nsize = 8\n'


def test_an_augmentation_added_later_belongs_to_the_methods_that_declare_it(write, tmp_path):
    (tmp_path / "mine.toml").write_text(SMALL)
    words = {"protocol": str(tmp_path / "mine.toml")}
    assert run_of(**words).fingerprint() == run_of().fingerprint()
    declaring = METHOD + '    augmentations = ("small",)\n'
    with_it, without = (run_of(methods=[write(declaring)], **more) for more in (words, {}))
    assert (with_it.unused, without.unused) == ((), ())
    assert with_it.fingerprint() != without.fingerprint()
    undeclared = run_of(methods=[write(METHOD)], **words)
    assert undeclared.unused == ("small",)


def test_a_method_that_uses_it_without_declaring_is_refused(write, tmp_path):
    from protocols.pretrain.build import augmentations_of_views

    (tmp_path / "mine.toml").write_text(SMALL)
    uses = METHOD + '    views = classmethod(lambda cls, options: ("standard", "small"))\n'
    run = run_of(methods=[write(uses)], protocol=str(tmp_path / "mine.toml"))
    with pytest.raises(RequestError, match=r"uses augmentation .small., .*; write augmentations = \(\"small\",\)"):
        augmentations_of_views(METHODS.get("mine"), None, run)
    declared = replace(run, unused=())
    assert augmentations_of_views(METHODS.get("mine"), None, declared) == ("standard", "small")


DATASET = textwrap.dedent('''
    from pathlib import Path
    from bench import Source, register_dataset

    @register_dataset("lines")
    class Lines(Source):
        """Lines."""

        def digest(self):
            return (Path(__file__).parent / "content").read_text()
''')


def test_a_data_set_of_a_plugin_is_known_by_its_source_and_content(write, tmp_path):
    content = tmp_path / "content"
    content.write_text("1")
    first = run_of(datasets=[write(DATASET)])
    part = run_of(plugins=[write(DATASET)], datasets=["held_out:lines"])
    load_plugins(part)
    second = run_of(datasets=[write(DATASET + "\n")])
    content.write_text("2")
    third = run_of(datasets=[write(DATASET + "\n\n")])
    assert len({run.fingerprint() for run in (first, second, third, part)}) == 4
    assert [run.dataset.digest for run in (first, second, third)] == ["1", "1", "2"]
    with pytest.raises(RequestError, match="held_out:lines was changed after"):
        load_plugins(part)


WEIGHTS = textwrap.dedent('''
    from bench import register_backbone

    @register_backbone("stored", argument="PATH")
    def stored(name):
        """stored:PATH, a network with weights of a file."""
''')


def test_weights_after_the_colon_of_a_backbone_count_by_their_content(write, tmp_path):
    weights, copy = tmp_path / "weights.pt", tmp_path / "copy.pt"
    weights.write_bytes(b"1")
    copy.write_bytes(b"1")
    runs = [run_of(plugins=[write(WEIGHTS)], backbones=[f"stored:{path}"]) for path in (weights, copy)]
    assert runs[0].fingerprint() == runs[1].fingerprint()
    load_plugins(runs[0])
    weights.write_bytes(b"2")
    changed = run_of(plugins=[write(WEIGHTS)], backbones=[f"stored:{weights}"])
    assert changed.fingerprint() != runs[0].fingerprint()
    with pytest.raises(RequestError, match=r"the file of stored:.*weights\.pt was changed after"):
        load_plugins(runs[0])


FEATURES = textwrap.dedent('''
    from bench import register_evaluation

    @register_evaluation("own")
    def own(representations):
        """Its first parameter is not called features."""
        return {"x": 1.0}
''')


def test_what_an_evaluation_takes_is_declared_and_not_guessed(write):
    run = run_of(evaluations=[write(FEATURES)], refinements=["neighbour_mean"])
    assert [run.evaluation_name(one) for one in run.evaluations] == ["own", "own after averaged"]
    context = FEATURES.replace('"own"', '"own", takes="context"')
    run = run_of(evaluations=[write(context)], refinements=["neighbour_mean"])
    assert [run.evaluation_name(one) for one in run.evaluations] == ["own"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (FEATURES.replace('"own"', '"own", takes="labels"'), "takes 'labels'; choose features or context"),
        (
            FEATURES.replace('"own"', '"own", needs="labels"'),
            "declares 'needs'; register_evaluation takes version, added, takes",
        ),
        (FEATURES.replace("representations", "subject"), r"'subject' and does not say .* takes=\"context\""),
        (METHOD + "\n    baseline = 'middle'\n", "is the baseline 'middle'; choose upper, lower, external"),
        (METHOD + "\n    def keepsakes(self): ...\n", "defines keepsakes, which is now called extra_state"),
        (METHOD + "\n    def passes(cls, o): ...\n", "defines passes, which is now called views_per_image"),
        (METHOD + "\n    sources = None\n", "defines sources, which is now called source_indices"),
        (EXTRAS.replace("uniforms=1", "uniforms='one'"), "declares uniforms='one'"),
        (EXTRAS.replace("uniforms=1", "uniforms=-1"), "declares uniforms=-1"),
        ("x = 1", "registers nothing; put one of register_method, register_dataset"),
        (FEATURES.replace("register_evaluation", "register_evalution"), "did you mean register_evaluation"),
        ("def f(:", "line 1"),
    ],
)
def test_a_file_that_cannot_work_is_refused_in_one_line_without_importing_it(write, text, complaint):
    with pytest.raises(RequestError, match=complaint) as caught:
        add_file(Path(write("raise_if_imported\n" * (not text.startswith("def")) + text)))
    assert "\n" not in str(caught.value)


def test_a_plugin_that_is_registered_in_this_process_is_refused_likewise():
    with pytest.raises(BrokenPlugin, match="'subject' and does not say what it takes"):
        EVALUATIONS.register("own")(lambda subject: {})


def test_decorators_of_other_libraries_are_left_alone(write):
    text = FEATURES + '\n@library.register_fake("own::op")\ndef fake(x): ...\n'
    assert add_file(Path(write(text))) == {"evaluations": ["own"]}


def test_a_file_of_several_kinds_registers_all(write):
    assert add_file(Path(write(EXTRAS + BACKBONE))) == {
        "optimizers": ["slow"],
        "schedules": ["late"],
        "augmentations": ["grid"],
        "backbones": ["fam"],
    }


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(RequestError, match="no such file"):
        add_file(tmp_path / "nothing.py")


def test_a_file_given_for_another_kind_is_refused_with_a_hint(write):
    file = write(EVALUATION)
    hint = "registers no method; it registers evaluations: name it with --evaluations or --plugins"
    with pytest.raises(RequestError, match=hint):
        add_plugins(Request(methods=[file]))
    with pytest.raises(
        RequestError, match=r"registers no refinement; it registers optimizers, .*: name it with --plugins"
    ):
        add_plugins(Request(refinements=[write(EXTRAS)]))


def test_a_file_named_in_two_ways_is_one_plugin(write, tmp_path, monkeypatch):
    write(METHOD)
    monkeypatch.chdir(tmp_path)
    request = add_plugins(Request(methods=["./mine.py[weight=2]", "mine.py"], plugins=["mine.py"]))
    assert (request.methods, request.plugins) == (["mine[weight=2]", "mine"], ("mine.py",))


def test_every_plugin_of_a_file_is_loaded_used_or_not(write):
    file = write("import no_such_package\n" + FEATURES)
    add_file(Path(file))
    load_files([])
    with pytest.raises(BrokenPlugin, match="'own' does not load: ModuleNotFoundError"):
        load_files([file])


def test_what_protocols_of_the_project_added_is_declared_by_methods_of_the_project():
    declared = {one for name in METHODS.names() for one in METHODS.describe(name).declared["augmentations"]}
    assert all(declared.issuperset(protocols.load(name).added) for name in protocols.names())
