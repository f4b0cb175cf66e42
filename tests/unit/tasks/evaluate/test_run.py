"""The whole stage with models that read the truth, always say A, or babble: scores, blind scores, files, bad input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from pydantic import JsonValue

from configs.schema import EvaluateConfig, LlavaBenchConfig, OpenAIEndpoint, ScienceQAConfig, ScriptedEndpoint
from model.questions import prompt_of, target_of
from tasks.chat.records import Failure, Message, Reply
from tasks.errors import ConfigError, DataError
from tasks.evaluate.judging import load_rules
from tasks.evaluate.report import Report, read_examples, read_report
from tasks.evaluate.run import build_evaluation
from tasks.progress import Silent
from tasks.stages import Built
from tasks.storage import file_table
from tests.fakes.models import Judge, Model, always_a, babbles, reads_truth
from tests.unit.tasks.evaluate.sets import (
    HINTED,
    PLAIN,
    QUESTIONS,
    SEEN,
    UNSEEN,
    asked,
    bench_set,
    problems,
    scienceqa_set,
    write_image,
    write_json,
)

JUDGE = ScriptedEndpoint(kind="scripted")
SCIENCEQA = EvaluateConfig(scienceqa=ScienceQAConfig(), bootstrap=200)
BENCH = EvaluateConfig(llava_bench=LlavaBenchConfig(judge=JUDGE), bootstrap=200)
BOTH = EvaluateConfig(scienceqa=ScienceQAConfig(), llava_bench=LlavaBenchConfig(judge=JUDGE), bootstrap=200)


def truthful() -> Model:
    """Reads the truth of both sets; needs the image where there is one."""
    seeing = {
        prompt_of(problem, "QCM-A", with_image=False): target_of(problem, "QCM-A")
        for problem in asked().values()
        if problem.image
    }
    reading = {prompt_of(p, "QCM-A"): target_of(p, "QCM-A") for p in asked().values() if not p.image}
    return reads_truth(seeing | {str(row["text"]): f"#seen {row['text']}" for row in QUESTIONS}, reading)


def fair() -> Judge:
    """Scores an answer by whether it was seen; one question it can never judge is asked for by its text."""
    return Judge(lambda text, attempt: "8 8\nSeen." if "#seen" in text else "8 2\nBlind.")


def build(
    folder: Path, config: EvaluateConfig, model: Model, judge: Judge | None = None, seed: int = 0
) -> tuple[Built, Report]:
    roots = {"scienceqa": folder / "sqa", "llava_bench": folder / "bench"}
    out = folder / "out"
    out.mkdir(parents=True, exist_ok=True)
    built = build_evaluation(out, roots, config, model, judge, seed, Silent())
    return built, read_report(out)


def test_a_model_that_sees_is_told_apart_from_one_that_does_not(tmp_path: Path) -> None:
    scienceqa_set(tmp_path / "sqa")
    built, report = build(tmp_path, SCIENCEQA, truthful())
    scores = report.scores()
    assert scores["scienceqa/avg"] == scores["scienceqa/img"] == 100.0
    assert scores["scienceqa/img_blind"] == 0.0
    assert scores["scienceqa/avg_blind"] == 50.0
    assert scores["scienceqa/unseen_pair"] == 100.0
    assert scores["scienceqa/unparsed"] == 0.0
    assert {f"scienceqa/{row}" for row in ("nat", "soc", "lan", "txt", "no", "g1-6", "g7-12", "random")} <= set(scores)
    assert built.facts["scores"] == scores
    assert built.counts["scienceqa/questions"] == 4


def test_a_model_that_always_says_a_scores_what_a_is_worth_and_the_same_blind(tmp_path: Path) -> None:
    scienceqa_set(tmp_path / "sqa")
    scores = build(tmp_path, SCIENCEQA, always_a())[1].scores()
    assert scores["scienceqa/avg"] == scores["scienceqa/avg_blind"] == 25.0
    assert scores["scienceqa/img"] == scores["scienceqa/img_blind"] == 0.0


def test_a_model_that_babbles_is_unparsed_and_never_lucky(tmp_path: Path) -> None:
    scienceqa_set(tmp_path / "sqa")
    built, report = build(tmp_path, SCIENCEQA, babbles())
    assert report.scores()["scienceqa/avg"] == 0.0
    assert report.scores()["scienceqa/unparsed"] == 100.0
    assert built.counts["scienceqa/unparsed"] == 4
    assert {example.sighted.outcome for example in read_examples(tmp_path / "out", "scienceqa")} == {"unparsed"}


def test_blind_means_the_same_question_without_image_and_token(tmp_path: Path) -> None:
    scienceqa_set(tmp_path / "sqa")
    model = always_a()
    build(tmp_path, SCIENCEQA, model)
    with_image = {prompt.text for prompt in model.asked if prompt.image}
    without = [prompt.text for prompt in model.asked if not prompt.image]
    assert with_image == {prompt_of(asked()[pid], "QCM-A") for pid in (SEEN, UNSEEN)}
    # Questions without an image are asked once: their blind prompt is their own.
    assert sorted(without) == sorted(prompt_of(problem, "QCM-A", with_image=False) for problem in asked().values())


def test_without_the_blind_part_nothing_blind_is_asked_or_reported(tmp_path: Path) -> None:
    scienceqa_set(tmp_path / "sqa")
    bench_set(tmp_path / "bench")
    model = truthful()
    scores = build(tmp_path, BOTH.model_copy(update={"blind": False}), model, fair())[1].scores()
    assert not [name for name in scores if "blind" in name]
    assert len(model.asked) == 8
    assert all(example.blind is None for example in read_examples(tmp_path / "out", "scienceqa"))


def test_examples_hold_what_a_reader_and_a_paired_test_need(tmp_path: Path) -> None:
    scienceqa_set(tmp_path / "sqa")
    build(tmp_path, SCIENCEQA, truthful())
    examples = {example.id: example for example in read_examples(tmp_path / "out", "scienceqa")}
    assert list(examples) == [SEEN, HINTED, PLAIN, UNSEEN]
    seen = examples[SEEN]
    assert (seen.sighted.outcome, seen.sighted.choice, seen.correct) == ("right", "C", "C. green")
    assert seen.blind is not None
    assert (seen.blind.outcome, seen.blind.choice) == ("wrong", "A")
    assert seen.image is not None
    assert (tmp_path / "out" / seen.image).read_bytes() == (
        tmp_path / "sqa" / "images" / "test" / SEEN / "image.png"
    ).read_bytes()
    assert examples[HINTED].image is None
    assert examples[HINTED].blind == examples[HINTED].sighted
    assert "unseen_pair" in examples[UNSEEN].groups


def test_images_may_lie_without_the_split_in_their_path(tmp_path: Path) -> None:
    scienceqa_set(tmp_path / "sqa", with_split=False)
    assert build(tmp_path, SCIENCEQA, truthful())[1].scores()["scienceqa/img"] == 100.0


def test_questions_whose_image_is_not_there_are_left_out_and_counted(tmp_path: Path) -> None:
    root = scienceqa_set(tmp_path / "sqa")
    (root / "images" / "test" / UNSEEN / "image.png").unlink()
    built, report = build(tmp_path, SCIENCEQA, truthful())
    assert built.counts["scienceqa/image_missing"] == 1
    assert built.counts["scienceqa/questions"] == 3
    assert report.benchmarks["scienceqa"].rows["img"].n == 1
    assert any("1 questions of the split left out" in note for note in report.benchmarks["scienceqa"].notes)


def test_a_limit_takes_the_first_questions_that_can_be_asked(tmp_path: Path) -> None:
    root = scienceqa_set(tmp_path / "sqa")
    (root / "images" / "test" / SEEN / "image.png").unlink()
    config = EvaluateConfig(scienceqa=ScienceQAConfig(limit=2))
    build(tmp_path, config, truthful())
    assert [example.id for example in read_examples(tmp_path / "out", "scienceqa")] == [HINTED, PLAIN]


def test_no_image_at_all_is_an_error_that_names_the_place(tmp_path: Path) -> None:
    scienceqa_set(tmp_path / "sqa")
    config = EvaluateConfig(scienceqa=ScienceQAConfig(images="pictures"))
    with pytest.raises(DataError, match=r"none of the 2 images .*pictures/test/10/image\.png.*set evaluate"):
        build(tmp_path, config, truthful())


@pytest.mark.parametrize("content", [b"", b"not an image", None])
def test_an_unreadable_image_is_named_before_the_model_is_asked(tmp_path: Path, content: bytes | None) -> None:
    root = scienceqa_set(tmp_path / "sqa")
    path = root / "images" / "test" / SEEN / "image.png"
    path.write_bytes(path.read_bytes()[:45] if content is None else content)
    model = truthful()
    with pytest.raises(DataError, match=r"image .*10/image\.png of question 10 cannot be read"):
        build(tmp_path, SCIENCEQA, model)
    assert not model.asked


def test_without_a_file_of_splits_the_questions_say_theirs(tmp_path: Path) -> None:
    root = scienceqa_set(tmp_path / "sqa")
    (root / "pid_splits.json").unlink()
    build(tmp_path, SCIENCEQA, truthful())
    assert {example.id for example in read_examples(tmp_path / "out", "scienceqa")} == set(asked())


def test_the_prompt_format_and_rule_are_those_of_the_experiment(tmp_path: Path) -> None:
    scienceqa_set(tmp_path / "sqa")
    config = EvaluateConfig(scienceqa=ScienceQAConfig(prompt_format="CQM-A", rule="scienceqa-official"))
    model = Model(lambda prompt: "A")
    report = build(tmp_path, config, model)[1]
    assert report.scores()["scienceqa/unparsed"] == 100.0  # that rule knows no bare letter
    assert all("A. " in prompt.text for prompt in model.asked)
    settings = report.benchmarks["scienceqa"].settings
    assert (settings["prompt_format"], settings["rule"]) == ("CQM-A", "scienceqa-official")


def test_llava_bench_has_relative_scores_and_blind_ones_beside(tmp_path: Path) -> None:
    bench_set(tmp_path / "bench")
    model, judge = truthful(), fair()
    built, report = build(tmp_path, BENCH, model, judge)
    scores = report.scores()
    assert scores == {
        f"llava_bench/{row}{suffix}": value
        for row in ("conv", "detail", "complex", "all")
        for suffix, value in (("", 100.0), ("_blind", 25.0))
    } | {"llava_bench/failed": 0.0}
    assert next(prompt.text for prompt in model.asked if prompt.image).startswith("<image>\n")
    assert built.counts["llava_bench/judged"] == 4
    first = read_examples(tmp_path / "out", "llava_bench")[0]
    assert (first.sighted.scores, first.sighted.words, first.sighted.outcome) == ((8.0, 8.0), "8 8\nSeen.", "judged")
    assert first.blind is not None
    assert first.blind.scores == (8.0, 2.0)
    assert (first.correct, first.groups, first.image) == ("Reference 0.", ("conv",), "images/llava_bench/001.jpg")


def test_settings_name_judge_and_rules_and_keep_secrets_out(tmp_path: Path) -> None:
    bench_set(tmp_path / "bench")
    endpoint = OpenAIEndpoint(kind="openai", model="judge-1", base_url="http://inside:1/v1", api_key_env="MY_KEY")
    config = EvaluateConfig(llava_bench=LlavaBenchConfig(judge=endpoint))
    settings = build(tmp_path, config, truthful(), fair())[1].benchmarks["llava_bench"].settings
    judge: JsonValue = {"kind": "openai", "model": "judge-1", "temperature": 0.2, "max_tokens": 1024}
    assert settings["judge"] == judge
    assert settings["rules_digest"] == load_rules().digest
    assert "inside" not in str(settings)
    assert "MY_KEY" not in str(settings)


@dataclass
class Dated(Judge):
    """Replies as the ledger hands them out: with their date and what the endpoint called its model."""

    def __call__(self, requests: Sequence[Sequence[Message]], attempt: int) -> Sequence[Reply | Failure]:
        found = super().__call__(requests, attempt)
        return [
            replace(one, answered=86400.0 * (number % 2), served="judge-1-0613") if isinstance(one, Reply) else one
            for number, one in enumerate(found)
        ]


def test_every_score_says_who_judged_it_and_when_and_the_settings_do_not(tmp_path: Path) -> None:
    bench_set(tmp_path / "bench")
    judge = Dated(lambda text, attempt: "8 4")
    endpoint = OpenAIEndpoint(kind="openai", model="judge-1", temperature=0.5)
    config = EvaluateConfig(llava_bench=LlavaBenchConfig(judge=endpoint))
    report = build(tmp_path, config, truthful(), judge)[1].benchmarks["llava_bench"]
    shown = read_examples(tmp_path / "out", "llava_bench")
    assert {example.sighted.judge for example in shown} == {"judge-1-0613"}
    assert {example.sighted.judged for example in shown} == {"1970-01-01T00:00:00+00:00", "1970-01-02T00:00:00+00:00"}
    assert report.told == {"judge as served": "judge-1-0613", "judged": "1970-01-01 to 1970-01-02"}
    # Two evaluations are compared by their settings: what was judged on another day is still comparable.
    assert "1970" not in str(report.settings)


def test_a_judge_by_rule_has_no_date(tmp_path: Path) -> None:
    bench_set(tmp_path / "bench")
    report = build(tmp_path, BENCH, truthful(), Dated(lambda text, attempt: "8 4"))[1].benchmarks["llava_bench"]
    assert report.told == {}
    assert {example.sighted.judged for example in read_examples(tmp_path / "out", "llava_bench")} == {None}


def test_a_failed_judgement_is_left_out_and_counted(tmp_path: Path) -> None:
    bench_set(tmp_path / "bench")
    judge = Judge(lambda text, attempt: "no score" if "Why is it so?" in text else "10 5\nFine.")
    config = EvaluateConfig(llava_bench=LlavaBenchConfig(judge=JUDGE, max_failed_share=0.3))
    built, report = build(tmp_path, config, truthful(), judge)
    scores = report.scores()
    assert scores["llava_bench/all"] == 50.0
    assert scores["llava_bench/failed"] == 25.0
    assert "llava_bench/complex" not in scores
    assert judge.rounds == [(1, 8), (2, 2), (3, 2)]
    assert built.counts["llava_bench/failed"] == built.counts["llava_bench/blind_failed"] == 1
    failed = read_examples(tmp_path / "out", "llava_bench")[2].sighted
    assert (failed.outcome, failed.scores, failed.attempts) == ("failed", None, 3)


def test_above_the_failure_share_the_score_is_withheld(tmp_path: Path) -> None:
    bench_set(tmp_path / "bench")
    report = build(tmp_path, BENCH, truthful(), Judge(lambda text, attempt: None))[1]
    assert report.scores() == {"llava_bench/failed": 100.0}
    assert any("withheld" in note for note in report.benchmarks["llava_bench"].notes)


def test_coco_file_names_may_carry_their_split(tmp_path: Path) -> None:
    root = bench_set(tmp_path / "bench")
    (root / "images" / "001.jpg").rename(root / "images" / "COCO_val2014_001.jpg")
    assert build(tmp_path, BENCH, truthful(), fair())[1].scores()["llava_bench/all"] == 100.0


def test_a_bench_image_that_is_not_there_is_named(tmp_path: Path) -> None:
    root = bench_set(tmp_path / "bench")
    (root / "images" / "002.jpg").unlink()
    with pytest.raises(DataError, match=r"image .*002\.jpg of question 2 is not there"):
        build(tmp_path, BENCH, truthful(), fair())
    write_image(root / "images" / "002.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"image .*002\.jpg of question 3 cannot be read"):
        build(tmp_path, BENCH, truthful(), fair())


def test_both_benchmarks_stand_in_one_report(tmp_path: Path) -> None:
    scienceqa_set(tmp_path / "sqa")
    bench_set(tmp_path / "bench")
    report = build(tmp_path, BOTH, truthful(), fair())[1]
    assert list(report.benchmarks) == ["scienceqa", "llava_bench"]


def test_equal_input_gives_equal_files(tmp_path: Path) -> None:
    tables = []
    for name in ("a", "b"):
        scienceqa_set(tmp_path / name / "sqa")
        bench_set(tmp_path / name / "bench")
        build(tmp_path / name, BOTH, truthful(), fair(), seed=3)
        tables.append(file_table(tmp_path / name / "out"))
    assert tables[0] == tables[1]


def test_what_is_not_set_up_is_said(tmp_path: Path) -> None:
    scienceqa_set(tmp_path / "sqa")
    bench_set(tmp_path / "bench")
    with pytest.raises(ConfigError, match="evaluates nothing"):
        build(tmp_path, EvaluateConfig(), truthful())
    with pytest.raises(ConfigError, match="needs a judge"):
        build(tmp_path, BENCH, truthful(), None)
    with pytest.raises(ConfigError, match=r"evaluate\.scienceqa has no root"):
        build_evaluation(tmp_path, {}, SCIENCEQA, truthful(), None, 0, Silent())


def test_progress_reaches_the_end_without_going_back(tmp_path: Path) -> None:
    scienceqa_set(tmp_path / "sqa")
    bench_set(tmp_path / "bench")

    class Recording(Silent):
        def __init__(self) -> None:
            self.seen: list[tuple[int, int]] = []

        def update(self, done: int, total: int, **shown: float | str) -> None:
            self.seen.append((done, total))

    recording = Recording()
    roots = {"scienceqa": tmp_path / "sqa", "llava_bench": tmp_path / "bench"}
    (tmp_path / "out").mkdir()
    config = BOTH.model_copy(update={"batch": 2})
    build_evaluation(tmp_path / "out", roots, config, truthful(), fair(), 0, recording)
    assert [done for done, _ in recording.seen] == sorted(done for done, _ in recording.seen)
    assert recording.seen[-1][0] == recording.seen[-1][1] == 4 + 2 + 8 + 8


def test_a_broken_problems_file_stops_before_the_model_is_asked(tmp_path: Path) -> None:
    root = scienceqa_set(tmp_path / "sqa")
    write_json(root / "problems.json", {"1": problems()["1"].model_dump()})
    model = truthful()
    with pytest.raises(DataError, match="lacks 4 of the 4 questions"):
        build(tmp_path, SCIENCEQA, model)
    assert not model.asked
