"""Shares count from 1 to n in every command; what the environment says of them is checked."""

from __future__ import annotations

import pytest

from robustbench_lift.errors import UsageError
from robustbench_lift.shares import Share

SLURM = {"ID": "5", "MIN": "3", "MAX": "6", "COUNT": "4"}


def test_shares_cover_everything_once() -> None:
    shares = [Share.parse(f"{i}/3") for i in (1, 2, 3)]
    assert sorted(n for share in shares for n in share.of(range(10))) == list(range(10))
    assert [str(share) for share in shares] == ["1/3", "2/3", "3/3"]


@pytest.mark.parametrize(
    "text", ["", "2", "0/4", "5/4", "-1/4", "1/0", "a/4", "1/b", "²/4", "1/" + "9" * 5000, "1/2/3"]
)
def test_what_names_no_share_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--shard") as caught:
        Share.parse(text)
    assert len(str(caught.value)) < 400


def test_more_shares_than_can_be_merged_are_refused() -> None:
    with pytest.raises(UsageError, match="99,999,999 shares are too many"):
        Share.parse("1/99999999")


def test_counting_from_zero_says_what_the_first_share_is() -> None:
    with pytest.raises(UsageError, match="the first share is 1/4"):
        Share.parse("0/4")


def test_processes_of_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert Share.of_process() == Share(1, 4)
    for rank, size in (("x", "4"), ("4", "4"), ("1", ""), ("-1", "4")):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("WORLD_SIZE", size)
        with pytest.raises(UsageError, match=r"RANK|WORLD_SIZE"):
            Share.of_process()


def test_tasks_of_a_slurm_array(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID", raising=False)
    with pytest.raises(UsageError, match="no task of a job array"):
        Share.parse("slurm")
    for name, value in SLURM.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", value)
    assert Share.parse("slurm") == Share(2, 4)
    monkeypatch.setenv("SLURM_ARRAY_TASK_MAX", "9")
    with pytest.raises(UsageError, match="without gaps"):
        Share.parse("slurm")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "x")
    with pytest.raises(UsageError, match="SLURM_ARRAY_TASK_ID"):
        Share.parse("slurm")
