"""What the first rank says of another's end; ranks as processes of their own are in test_data_parallel.py."""

import multiprocessing
import signal
import time
from types import SimpleNamespace

from protocols.pretrain.process_group import shutdown
from protocols.pretrain.worker import first_failure


def test_a_rank_that_is_killed_is_named_and_one_that_wrote_why_is_quoted(tmp_path):
    running, killed, failed = (SimpleNamespace(exitcode=code) for code in (None, -signal.SIGKILL, 1))
    assert not first_failure([running, running], tmp_path)
    (tmp_path / "failure-1").write_text("out of memory", encoding="utf-8")
    assert first_failure([failed, running], tmp_path) == "out of memory"
    assert first_failure([failed, killed], tmp_path) == "rank 2 was killed by SIGKILL"


def test_ranks_that_are_left_are_killed_and_waited_for():
    ranks = [multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,)) for _ in range(2)]
    ranks[0].start()
    shutdown(ranks)
    assert [rank.exitcode for rank in ranks] == [-signal.SIGKILL, None]
