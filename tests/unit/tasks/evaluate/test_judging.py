"""A judge is told the rules of the category, is asked again when it fails, and never scores by failing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.errors import DataError
from tasks.evaluate.judging import judge_all, load_rules
from tasks.evaluate.llava_bench import CATEGORIES, BenchQuestion, Context, load_bench
from tests.fakes.models import Judge
from tests.unit.tasks.evaluate.sets import bench_set, write_json


def questions(root: Path, boxes: bool = True) -> list[BenchQuestion]:
    bench_set(root, boxes)
    return load_bench(root / "questions.jsonl", root / "context.jsonl", root / "answers_gpt4.jsonl")


def test_own_rules_differ_by_category_and_ask_for_two_scores_in_the_first_line() -> None:
    rules = load_rules()
    assert len(set(rules.with_boxes.values())) == len(CATEGORIES)
    assert rules.source == "own"
    for text in rules.with_boxes.values():
        assert "first line" in text
        assert "Assistant 1" in text


def test_the_digest_tells_versions_of_the_rules_apart(tmp_path: Path) -> None:
    table = {category: {"role": "Assistant", "prompt": f"Judge {category}."} for category in CATEGORIES}
    first = load_rules(write_json(tmp_path / "rule.json", table))
    assert first.digest == load_rules(write_json(tmp_path / "other.json", table)).digest
    table["conv"]["prompt"] = "Judge conv!"
    assert first.digest != load_rules(write_json(tmp_path / "rule.json", table)).digest
    assert load_rules().digest == load_rules().digest != first.digest


def test_an_official_rule_file_is_used_by_the_kind_of_context(tmp_path: Path) -> None:
    table = {
        name: {"role": "Helper", "prompt": f"rule {name}"}
        for category in CATEGORIES
        for name in (category, f"llava_bench_{category}")
    }
    rules = load_rules(write_json(tmp_path / "rule.json", table))
    boxed, plain = questions(tmp_path / "a")[0], questions(tmp_path / "b", boxes=False)[0]
    assert "[System]\nrule conv\n" in rules.messages(boxed, "x")[-1].content
    assert "[System]\nrule llava_bench_conv\n" in rules.messages(plain, "x")[-1].content
    assert "[Helper 2]\nx\n\n[End of Helper 2]" in rules.messages(plain, "x")[-1].content


def test_a_rule_file_that_lacks_a_category_is_refused(tmp_path: Path) -> None:
    path = write_json(tmp_path / "rule.json", {"conv": {"role": "Assistant", "prompt": "p"}})
    with pytest.raises(DataError, match="no rule 'detail'"):
        load_rules(path)


def test_system_message_comes_first() -> None:
    question = BenchQuestion("0", "a.jpg", "What?", "detail", "R", Context(("One.",), None))
    messages = load_rules().messages(question, "A")
    assert [message.role for message in messages] == ["system", "user"]


def test_answers_keep_their_judgements(tmp_path: Path) -> None:
    judge = Judge(lambda text, attempt: "8 9\nfine" if "#good" in text else "8 2\npoor")
    judged = judge_all(judge, load_rules(), questions(tmp_path), ["#good", "#bad", "#good", "#bad"], lambda done: None)
    assert [judgement.scores for judgement in judged] == [(8.0, 9.0), (8.0, 2.0), (8.0, 9.0), (8.0, 2.0)]
    assert judged[0].words == "8 9\nfine"
    assert judge.rounds == [(1, 4)]


def test_what_fails_is_asked_again_as_another_attempt_and_only_that(tmp_path: Path) -> None:
    def say(text: str, attempt: int) -> str | None:
        if "#once" in text:
            return "9" if attempt == 1 else "7 7"
        if "#twice" in text:
            return None if attempt < 3 else "6 6"
        return "5 5" if "#well" in text else "I cannot say."

    judge = Judge(say)
    seen: list[int] = []
    answers = ["#well", "#once", "#twice", "#never"]
    judged = judge_all(judge, load_rules(), questions(tmp_path), answers, seen.append)
    assert [judgement.scores for judgement in judged] == [(5.0, 5.0), (7.0, 7.0), (6.0, 6.0), None]
    assert [judgement.attempts for judgement in judged] == [1, 2, 3, 3]
    assert judge.rounds == [(1, 4), (2, 3), (3, 2)]
    assert seen == [1, 2, 4]
    assert (judged[3].words, judged[3].failure) == ("I cannot say.", "the first line is not two scores")


def test_an_endpoint_that_fails_to_the_end_is_a_failed_judgement_with_its_reason(tmp_path: Path) -> None:
    judge = Judge(lambda text, attempt: None)
    judged = judge_all(judge, load_rules(), questions(tmp_path), ["a"] * 4, lambda done: None)
    assert {(judgement.scores, judgement.failure) for judgement in judged} == {(None, "timed out")}
