"""The model card says what the model is not good for."""

from __future__ import annotations

from tasks.register.card import Subject, model_card
from tasks.register.evidence import Benchmark, Evidence, Row
from tasks.register.version import Candidate

CANDIDATE = Candidate(
    experiment="shapes", run="r1", run_id="m1", checkpoint="c" * 64, evaluation="e" * 64, git_commit="abc",
    git_dirty=True, data={"shards": "s" * 64, "images": "i" * 64},
)


def card(**rows: Row) -> str:
    part = Benchmark(rows=rows, rates={"unparsed": 2.5}, settings={"rule": "llava"})
    evidence = Evidence(checkpoint="c", evaluation="e", benchmarks={"scienceqa": part})
    stages = {"align": {"batch": 64, "steps": 5, "lr": 0.001, "betas": [0.9, 0.999]}}
    subject = Subject(
        model="llavaflow", description="Shapes.",
        config={"data": {"source": {"kind": "shapes"}}, "train": {"stages": stages}},
    )
    return model_card(subject, CANDIDATE, evidence)


def test_results_stand_with_intervals_and_baselines_the_whole_set_first() -> None:
    text = card(img=Row(value=90.0, low=85.0, high=94.0, n=100, random=27.0, blind=30.0), avg=Row(value=80.0, n=200))
    lines = text.splitlines()
    assert "| img | 90.0 | 85.0 to 94.0 | 100 | 27.0 | 30.0 |" in lines
    assert lines.index("| avg | 80.0 | - | 200 | - | - |") < lines.index(
        "| img | 90.0 | 85.0 to 94.0 | 100 | 27.0 | 30.0 |"
    )
    assert "Percent. unparsed 2.5 %; rule llava." in lines


def test_rows_in_which_seeing_does_not_help_and_withheld_ones_are_limits() -> None:
    text = card(
        avg=Row(value=80.0, low=75.0, high=85.0, blind=50.0), img=Row(value=31.0, low=25.0, high=37.0, blind=30.0),
        soc=Row(value=None),
    )
    limits = text.partition("## Limits")[2].partition("## Training")[0]
    assert "scienceqa/img: not clearly better than the same model with the image withheld." in limits
    assert "scienceqa/soc is withheld" in limits and "scienceqa/avg" not in limits
    assert "nothing it says about photographs" in limits and "2.5 % of the answers" in limits


def test_origin_and_configuration_are_whole() -> None:
    text = card(avg=Row(value=80.0))
    assert f"| images | {'i' * 64} |" in text and f"| shards | {'s' * 64} |" in text
    assert "abc (with uncommitted changes)" in text
    assert "| align | 64 | 5 | - | 0.001 | - | - |" in text and "train.stages.align.betas = [0.9,0.999]" in text
    assert "LlavaForConditionalGeneration.from_pretrained" in text
