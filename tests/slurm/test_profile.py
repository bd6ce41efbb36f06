"""Profiles: what a job asks for."""

import pytest

from protocols.spec.execution import ExecutionContext
from results.errors import RequestError
from slurm.pack import ArrayBatch
from slurm.profile import PROFILES_FOLDER, Profiles, parse_sbatch_options, read_profile
from slurm.submit import render_scripts

WRONG = {
    "unknown key": ('tme = "1h"', "a profile has no key 'tme'; did you mean time"),
    "all keys are shown": ('tme = "1h"', "max_parallel"),
    "unknown key for a method": ('time = "1h"\n[methods.simclr]\nram = "1G"', "a profile has no key 'ram'"),
    "no time": ("cpus = 2", "no time limit: a job needs one"),
    "bare clock": ("time = 10:30:00", "put it in quotes"),
    "no such time": ('time = "soon"', "'soon' is not a length of time"),
    "memory without a unit": ('time = "1h"\nmem = "8"', "'8' is not an amount of memory"),
    "wrong type": ('time = "1h"\ncpus = "2"', "profile.cpus is '2'; it must be a whole number"),
    "too few": ('time = "1h"\ncpus = 0', "cpus must be 1 or more"),
    "not a table": ('time = "1h"\n[methods]\nsimclr = 3', "methods.simclr in a profile must be a table"),
    "an option of ours": ('time = "1h"\n[sbatch]\narray = "1-2"', "'array' cannot be changed"),
    "not TOML": ("time = ", "is not TOML"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_in_a_line(tmp_path, text, message):
    (tmp_path / "profile.toml").write_text(text)
    with pytest.raises(RequestError) as error:
        Profiles(read_profile(str(tmp_path / "profile.toml")), {})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_profile_that_is_not_there(tmp_path):
    with pytest.raises(RequestError, match="give a TOML file, or one of cpu, gpu, preemptible"):
        read_profile(str(tmp_path / "none.toml"))


@pytest.mark.parametrize("name", [path.stem for path in PROFILES_FOLDER.glob("*.toml")])
def test_shipped_profiles_are_valid(run_of, name):
    assert Profiles(read_profile(name), {}).for_run(run_of("simclr")).time_limit_minutes >= 60


def test_the_command_line_lies_over_the_table_of_a_run_over_the_file(run_of):
    table = {"time": "1h", "mem": "4G", "cpus": 2, "methods": {"simclr": {"mem": "8G", "cpus": 4}}}
    profiles = Profiles(table, {"cpus": 6, "mem": None})
    simclr, byol = profiles.for_run(run_of("simclr")), profiles.for_run(run_of("byol"))
    assert (simclr.mem, simclr.cpus) == ("8G", 6)
    assert (byol.mem, byol.cpus) == ("4G", 6)


def test_the_script_says_what_was_asked_for_and_no_more(run_of, tmp_path):
    given = {
        "time": "1h30",
        "partition": "main",
        "gpus": 2,
        "cpus": 3,
        "mem": "8G",
        "account": "lab",
        "qos": "low",
        "constraint": "a100",
        "setup": ["module load cuda"],
        "sbatch": parse_sbatch_options(["nice=100", "exclusive", "--mail-type=END"]),
    }
    run = run_of("simclr")
    batch = ArrayBatch(Profiles({}, given).for_run(run), ((run,), (run,), (run,)), parallel=2, after=None)
    (script,) = render_scripts([batch], ExecutionContext(tmp_path, tmp_path))
    for line in (
        "--array=0-2%2", "--time=90", "--partition=main", "--gpus-per-node=2", "--cpus-per-task=3", "--mem=8G",
        "--account=lab", "--qos=low", "--constraint=a100", "--nice=100", "--exclusive", "--mail-type=END", "--requeue",
        "--signal=USR2@120", "--open-mode=append",
    ):  # fmt: skip
        assert f"#SBATCH {line}\n" in script
    assert script.index("module load cuda") < script.index("srun")
    assert " --cpus-per-task=3 " in script.partition("srun")[2]
    assert "wckey" not in script

    plain = ArrayBatch(Profiles({"time": "2m"}, {}).for_run(run), ((run,),), parallel=0, after=None)
    (script,) = render_scripts([plain], ExecutionContext(tmp_path, tmp_path))
    for word in ("--array", "--partition", "--mem", "--gpus", "--account", "--dependency"):
        assert word not in script
    assert "--signal=USR2@30\n" in script


REFUSED = {
    **dict.fromkeys(("array", "-a", "array=1-2", "arr=1-2", "--output=x", "-o=x", "e=x", "-J=x", "dependency=x"), ""),
    **dict.fromkeys(("open_mode=truncate", "OPEN-MODE=truncate"), ""),
    **dict.fromkeys(("time=10", "-t=10", "tim=10"), "use --time"),
    "-p=main": "use --partition",
    "mem=1G": "use --mem",
    "gpus-per-node=1": "use --gpus",
    "cpus_per_task=9": "use --cpus",
    "-N=2": "use --nodes",
    "ntasks-per-node=8": "use --ranks",
}


@pytest.mark.parametrize(("option", "hint"), REFUSED.items())
def test_no_spelling_changes_an_option_that_bench_sets(option, hint):
    with pytest.raises(RequestError, match="cannot be changed") as error:
        Profiles({"time": "1h"}, {"sbatch": parse_sbatch_options([option])})
    assert error.value.hint == hint


@pytest.mark.parametrize("option", ["x y=1", "Z=2", "=2", "a\nb=1"])
def test_what_is_no_long_name_is_refused(option):
    with pytest.raises(RequestError, match="its long name"):
        Profiles({"time": "1h"}, {"sbatch": parse_sbatch_options([option])})


@pytest.mark.parametrize("options", [{"partition": "a\n#SBATCH --array=1"}, {"sbatch": {"comment": "a\nb"}}])
def test_no_value_begins_a_line_of_its_own(options):
    with pytest.raises(RequestError, match="control characters"):
        Profiles({"time": "1h"}, options)


def test_options_of_sbatch_that_are_left_to_the_user(run_of):
    options = ["nice=100", "exclusive", "mem-per-cpu=1G", "gres=gpu:a100:2", "nodelist=a,b"]
    assert (
        len(Profiles({"time": "1h"}, {"sbatch": parse_sbatch_options(options)}).for_run(run_of("simclr")).sbatch) == 5
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [("# réglage".encode("latin-1"), "is not UTF-8"), (b"\xff\xfet\0", "is not UTF-8"), (b"time", "is not TOML")],
)
def test_a_file_that_is_not_toml_in_utf8(content, message, tmp_path):
    (tmp_path / "profile.toml").write_bytes(content)
    with pytest.raises(RequestError, match=f"profile.toml {message}"):
        read_profile(str(tmp_path / "profile.toml"))


def test_a_byte_order_mark(tmp_path):
    (tmp_path / "profile.toml").write_bytes(b'\xef\xbb\xbftime = "1h"')
    assert read_profile(str(tmp_path / "profile.toml")) == {"time": "1h"}


def test_all_memory_of_a_node():
    assert Profiles({"time": "1h"}, {"mem": "0"})


@pytest.mark.parametrize(
    ("table", "options", "line"),
    [
        ({}, {"gpus": "2"}, "2"),
        ({}, {"gpus": "a100:2"}, "a100:2"),
        ({"gpus": "h100_nvl:1"}, {}, "h100_nvl:1"),
        ({"gpus": 1, "gpu_type": "a100"}, {}, "a100:1"),
        ({"gpus": "a100:2"}, {"gpus": "4"}, "4"),
    ],
)
def test_gpus_may_have_a_type(run_of, tmp_path, table, options, line):
    run = run_of("simclr")
    batch = ArrayBatch(Profiles({"time": "1h", **table}, options).for_run(run), ((run,),), parallel=0, after=None)
    (script,) = render_scripts([batch], ExecutionContext(tmp_path, tmp_path))
    assert f"#SBATCH --gpus-per-node={line}\n" in script


@pytest.mark.parametrize(("option", "lines"), [("gres=gpu:2", 0), ("gres=gpu:a100:2", 0), ("gres=scratch:1", 1)])
def test_gpus_that_are_asked_for_as_generic_resources_are_not_asked_for_twice(run_of, tmp_path, option, lines):
    run, options = run_of("simclr"), {"gpus": "2", "sbatch": parse_sbatch_options([option])}
    batch = ArrayBatch(Profiles({"time": "1h"}, options).for_run(run), ((run,),), parallel=0, after=None)
    (script,) = render_scripts([batch], ExecutionContext(tmp_path, tmp_path))
    assert script.count("--gpus-per-node") == lines
    assert f"#SBATCH --{option}\n" in script


NO_GPUS = ["", "a100", "a100:", ":2", "a100:0", "a100:-1", "-1", "2:a100", "a 100:2", "a:b:2", "1.5"]


@pytest.mark.parametrize("gpus", NO_GPUS)
def test_other_gpus_are_refused_in_a_line_that_says_how(gpus):
    with pytest.raises(RequestError, match="a100:2 for two of a type"):
        Profiles({"time": "1h"}, {"gpus": gpus})


def script_of(run, tmp_path, profile, ranks=1):
    batch = ArrayBatch(Profiles({"time": "2m"}, profile).for_run(run), ((run,),), parallel=0, after=None)
    (script,) = render_scripts([batch], ExecutionContext(tmp_path, tmp_path, ranks=ranks))
    return script


def test_on_several_nodes_srun_starts_the_ranks(run_of, tmp_path):
    run = run_of("simclr")
    script = script_of(run, tmp_path, {"nodes": 2, "gpus": 8, "cpus": 64})
    for line in ("--nodes=2", "--ntasks-per-node=8", "--gpus-per-node=8", "--cpus-per-task=8"):
        assert f"#SBATCH {line}\n" in script
    assert "--cpus-per-task=8 --kill-on-bad-exit=1" in script
    fewer = script_of(run, tmp_path, {"nodes": 2, "gpus": 8, "cpus": 64}, ranks=4)
    assert "#SBATCH --ntasks-per-node=2\n" in fewer
    one = script_of(run, tmp_path, {"gpus": 4, "cpus": 64}, ranks=4)  # the job's process starts them
    assert "ntasks" not in one
    assert "#SBATCH --cpus-per-task=64\n" in one


@pytest.mark.parametrize(
    ("profile", "ranks", "message"),
    [
        ({"gpus": 2}, 4, "--ranks 4 needs 4 GPUs per job"),
        ({"nodes": 2, "gpus": 2}, 8, "--ranks 8 needs 4 GPUs per node"),
        ({"nodes": 2, "gpus": 2}, 3, "--ranks 3 cannot be divided between 2 nodes"),
        ({"nodes": 2, "gpus": 2}, 1, ""),
        ({"nodes": 2}, 4, ""),
        ({"gpus": 4}, 4, ""),
    ],
)
def test_every_rank_has_a_gpu(run_of, profile, ranks, message):
    run = run_of("simclr")
    profiles = Profiles({"time": "2m"}, profile)
    if not message:
        profiles.require_ranks([run], ranks)
        return
    with pytest.raises(RequestError, match=message):
        profiles.require_ranks([run], ranks)
