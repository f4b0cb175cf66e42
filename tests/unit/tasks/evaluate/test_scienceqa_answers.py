"""The ways to ask: likelihood, two passes, examples, captions; and that a result says which it was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError

from configs.schema import EvaluateConfig, ScienceQAConfig
from model.questions import candidates_of, few_shot_prompt, prompt_of
from tasks.errors import ConfigError, DataError
from tasks.evaluate.answers import Prompt
from tasks.evaluate.kept import KeptLikelihood
from tasks.evaluate.report import Example, Report, read_examples, read_report
from tasks.evaluate.run import build_evaluation
from tasks.evaluate.scienceqa_answers import likeliest
from tasks.evaluate.scienceqa_prompts import load_questions, prompts_of
from tasks.progress import Silent
from tests.fakes.models import Model
from tests.unit.tasks.evaluate.sets import HINTED, PLAIN, SEEN, UNSEEN, asked, problems, scienceqa_set, write_json


class Knows(Model):
    """Finds the candidate that the function names for a prompt the likeliest."""

    def likelihoods(
        self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]], batch: int
    ) -> Iterator[tuple[int, Sequence[KeptLikelihood]]]:
        for number, (prompt, given) in enumerate(zip(prompts, answers, strict=True)):
            yield number, [KeptLikelihood(-1.0 if answer == self.say(prompt) else -5.0, 1) for answer in given]


def build(folder: Path, own: ScienceQAConfig, model: Model) -> tuple[Report, dict[str, Example]]:
    scienceqa_set(folder / "sqa")
    write_json(folder / "sqa" / "captions.json", {"captions": {SEEN: "A green circle.", "1": "Not asked."}})
    (folder / "out").mkdir()
    config = EvaluateConfig(scienceqa=own)
    build_evaluation(folder / "out", {"scienceqa": folder / "sqa"}, config, model, None, 0, Silent())
    return read_report(folder / "out"), {example.id: example for example in read_examples(folder / "out", "scienceqa")}


def test_the_likeliest_choice_is_the_answer_and_nothing_is_parsed(tmp_path: Path) -> None:
    truth = {prompt_of(one, "QCM-A"): candidates_of(one, "QCM-A")[one.answer] for one in asked().values()}
    model = Knows(lambda prompt: truth.get(prompt.text, "The answer is A."))
    report, examples = build(tmp_path, ScienceQAConfig(answering="likelihood"), model)
    assert report.scores()["scienceqa/avg"] == 100.0
    assert report.scores()["scienceqa/avg_blind"] == 50.0
    assert examples[SEEN].sighted.text == "The answer is C."
    settings = report.benchmarks["scienceqa"].settings
    assert (settings["answering"], settings["normalise"], settings["rule"]) == ("likelihood", "tokens", "likelihood")
    assert model.asked == []


def test_a_model_that_cannot_score_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot score given answers"):
        build(tmp_path, ScienceQAConfig(answering="likelihood"), Model(lambda prompt: "A"))


def test_candidates_never_tell_the_truth() -> None:
    problem = asked()[SEEN].model_copy(update={"lecture": "Green is C.", "solution": "It is green."})
    for told in ("QCM-A", "QCM-EA", "QCM-LEA", "QCM-LEPA"):
        assert candidates_of(problem, told) == ["The answer is A.", "The answer is B.", "The answer is C."]
    assert candidates_of(problem, "CQM-A") == ["A", "B", "C"]
    assert candidates_of(problem, "QCM-E") == ["The answer is red.", "The answer is blue.", "The answer is green."]


def test_normalisation_decides_between_a_short_and_a_long_answer() -> None:
    likely = [KeptLikelihood(-3.0, 1), KeptLikelihood(-4.0, 4)]
    texts = ["a" * 20, "b" * 21]
    assert [likeliest(texts, likely, how) for how in ("none", "tokens", "characters")] == [0, 1, 0]
    assert likeliest(["x", "y"], [KeptLikelihood(-1.0, 1)] * 2, "tokens") == 0


@pytest.mark.parametrize(
    ("prompt_format", "first", "begun"),
    [
        ("QCM-LEPA", "LECTURE: Heat.\nSOLUTION: Fire is hot.\n###\nANSWER: A.", "\n###\nANSWER:"),
        ("QCM-LEPA", "LECTURE: Heat.\nSOLUTION: Fire is hot.", "\n###\nANSWER:"),
        ("QCM-LEA", "LECTURE: Heat.\nSOLUTION: Fire is hot. The answer is A.", " The answer is"),
    ],
)
def test_two_passes_reason_first_and_take_the_second_pass_s_answer(
    tmp_path: Path, prompt_format: str, first: str, begun: str
) -> None:
    reasoning = "LECTURE: Heat.\nSOLUTION: Fire is hot."
    model = Model(lambda prompt: " B." if prompt.begun else first)
    own = ScienceQAConfig.model_validate(
        {"answering": "two_pass", "prompt_format": prompt_format, "max_new_tokens": 300, "answer_tokens": 5}
    )
    report, examples = build(tmp_path, own, model)
    assert examples[HINTED].sighted.text == f"{reasoning}\n The answer is B."
    assert examples[HINTED].sighted.outcome == "right"
    passes = [(prompt.begun, prompt.max_new_tokens) for prompt in model.asked if "hot" in prompt.text]
    assert passes == [("", 300), (reasoning + begun, 5)]
    settings = report.benchmarks["scienceqa"].settings
    assert (settings["passes"], settings["cue"], settings["prompt_format"]) == (2, begun, prompt_format)


def test_examples_stand_in_front_in_the_repository_s_layout() -> None:
    text = few_shot_prompt(asked()[HINTED], "QCM-A", [(problems()["1"], "")])
    assert text == (
        "Question: Train?\nContext: N/A\nOptions: (A) x (B) y\nAnswer: The answer is A.\n\n"
        "Question: Which is hot?\nContext: Fire burns.\nOptions: (A) ice (B) fire (C) snow (D) rain\nAnswer:"
    )


def test_examples_come_from_another_split_under_their_seed(tmp_path: Path) -> None:
    own = ScienceQAConfig(shots=1, image_as="none")
    model = Model(lambda prompt: "The answer is A.")
    report, examples = build(tmp_path, own, model)
    settings = report.benchmarks["scienceqa"].settings
    assert (settings["shots"], settings["examples"], settings["image_as"]) == (1, ["1"], "none")
    assert all(prompt.text.startswith("Question: Train?") and prompt.image is None for prompt in model.asked)
    assert len(model.asked) == 4 and all(example.blind is None for example in examples.values())
    with pytest.raises(DataError, match="give answers away"):
        load_questions(tmp_path / "sqa", ScienceQAConfig(shots=1, image_as="none", shots_split="test"))
    with pytest.raises(DataError, match="1 questions, 2 examples are wanted"):
        load_questions(tmp_path / "sqa", ScienceQAConfig(shots=2, image_as="none"))


def test_a_caption_stands_for_the_image_behind_the_hint_and_is_withheld_blind(tmp_path: Path) -> None:
    model = Model(lambda prompt: "The answer is C." if "green circle" in prompt.text else "The answer is A.")
    report, examples = build(tmp_path, ScienceQAConfig(image_as="caption"), model)
    assert "Context: A green circle.\n" in examples[SEEN].prompt
    blind = examples[SEEN].blind
    assert blind is not None and (examples[SEEN].sighted.outcome, blind.outcome) == ("right", "wrong")
    assert all(prompt.image is None for prompt in model.asked) and len(model.asked) == 5
    assert any("1 questions asked without their image" in note for note in report.benchmarks["scienceqa"].notes)
    assert examples[UNSEEN].image is not None, "the report shows what the model did not see"


def test_captions_that_name_no_question_are_refused(tmp_path: Path) -> None:
    scienceqa_set(tmp_path)
    write_json(tmp_path / "captions.json", {"captions": {PLAIN: "It has no image."}})
    with pytest.raises(DataError, match="holds no caption"):
        load_questions(tmp_path, ScienceQAConfig(image_as="caption"))


def test_without_the_image_no_question_is_left_out_for_its_missing_file(tmp_path: Path) -> None:
    scienceqa_set(tmp_path)
    (tmp_path / "images" / "test" / SEEN / "image.png").unlink()
    assert load_questions(tmp_path, ScienceQAConfig()).image_missing == 1
    withheld = ScienceQAConfig(image_as="none")
    questions = load_questions(tmp_path, withheld)
    assert (questions.image_missing, len(prompts_of(questions, withheld, blind=False))) == (0, 4)


@pytest.mark.parametrize(
    "knobs", [{"shots": 2}, {"answering": "two_pass"}, {"answering": "two_pass", "prompt_format": "CQM-A"}]
)
def test_ways_that_do_not_go_together_are_refused(knobs: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=r"set image_as|needs a prompt_format"):
        ScienceQAConfig.model_validate(knobs)


def test_draws_are_told_in_the_settings_and_reach_the_model(tmp_path: Path) -> None:
    model = Model(lambda prompt: "The answer is A.")
    report, _ = build(tmp_path, ScienceQAConfig(temperature=0.7, sampling_seed=3), model)
    assert {(prompt.sampling.temperature, prompt.sampling.seed) for prompt in model.asked} == {(0.7, 3)}
    assert report.benchmarks["scienceqa"].settings["temperature"] == 0.7
