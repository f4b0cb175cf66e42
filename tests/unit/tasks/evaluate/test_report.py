"""The report: a flat map of scores that leaves nothing out and invents nothing, and files that read back the same."""

from __future__ import annotations

from pathlib import Path

from tasks.evaluate.report import (
    Answered,
    BenchmarkReport,
    Example,
    Report,
    Score,
    read_examples,
    read_report,
    write_examples,
    write_report,
)

REPORT = Report(
    seed=3,
    benchmarks={
        "scienceqa": BenchmarkReport(
            rows={
                "img": Score(value=70.0, low=60.0, high=80.0, n=10, right=7, random=40.0, blind=35.0),
                "avg": Score(value=75.0, low=70.0, high=80.0, n=20, right=15, random=42.0, blind=50.0),
            },
            topics={"colour": Score(value=10.0, n=2)},
            rates={"unparsed": 5.0},
            settings={"rule": "llava"},
        ),
        "llava_bench": BenchmarkReport(
            rows={"conv": Score(value=80.0, n=5), "all": Score(value=None, n=4)}, rates={"failed": 60.0}
        ),
    },
)


def test_the_flat_map_names_every_figure() -> None:
    assert REPORT.scores() == {
        "scienceqa/img": 70.0, "scienceqa/img_blind": 35.0, "scienceqa/avg": 75.0, "scienceqa/avg_blind": 50.0,
        "scienceqa/random": 42.0, "scienceqa/unparsed": 5.0, "llava_bench/conv": 80.0, "llava_bench/failed": 60.0,
    }


def test_a_report_reads_back_the_same_and_is_written_the_same(tmp_path: Path) -> None:
    write_report(tmp_path, REPORT)
    first = (tmp_path / "report.json").read_bytes()
    assert read_report(tmp_path) == REPORT
    write_report(tmp_path, read_report(tmp_path))
    assert (tmp_path / "report.json").read_bytes() == first


def test_examples_read_back_the_same_whatever_their_text(tmp_path: Path) -> None:
    examples = [
        Example(
            id="1", image="images/scienceqa/1.png", prompt="<image>\nWas?\u2028\r\n", correct="A. ja", groups=("img",),
            sighted=Answered(text="The answer is A.", outcome="right", choice="A"),
            blind=Answered(text="", outcome="unparsed", reason="empty"),
        ),
        Example(
            id="2", image=None, prompt="Q", correct="R", groups=("conv",),
            sighted=Answered(text="x", outcome="judged", scores=(8.0, 9.5), words="8 9.5\nGut.", attempts=1),
        ),
    ]
    write_examples(tmp_path, "set", examples)
    assert read_examples(tmp_path, "set") == examples
    assert read_examples(tmp_path, "other") == []
