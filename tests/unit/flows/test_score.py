"""`llavaflow score` prints the published figures from the released files, to the last digit, and refuses bad input."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from pydantic import JsonValue
from typer.testing import CliRunner

from flows.score import app
from tasks.errors import LlavaflowError, ScoringError
from tests.unit.tasks.evaluate.sets import (
    HINTED,
    PLAIN,
    SEEN,
    UNSEEN,
    asked,
    review,
    scienceqa_set,
    write_json,
    write_lines,
)


def run(*arguments: str | Path) -> str:
    """What the command prints. Raises what it raises."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})
    if result.exception is not None:
        raise result.exception
    return result.stdout


def run_json(*arguments: str | Path) -> dict[str, JsonValue]:
    """The JSON object that the command prints."""
    value = json.loads(run(*arguments, "--json"))
    assert isinstance(value, dict)
    return value


def columns(text: str, name: str) -> list[str]:
    """The cells of a row of a printed table."""
    return next(line for line in text.splitlines() if line.startswith(f"{name} ")).removeprefix(name).split()


@pytest.fixture
def small(tmp_path: Path) -> list[str | Path]:
    """Options that name a small set of questions."""
    root = scienceqa_set(tmp_path / "sqa")
    return ["--problems", root / "problems.json", "--splits", root / "pid_splits.json"]


# ---------------------------------------------------------------------------------------------------- small sets


def test_text_and_json_say_the_same(tmp_path: Path, small: list[str | Path]) -> None:
    path = write_json(tmp_path / "p.json", {SEEN: "C", HINTED: "B", PLAIN: "?", UNSEEN: "A"})
    text = run("scienceqa", *small, "--predictions", path)
    value = run_json("scienceqa", *small, "--predictions", path)
    assert [float(cell) for cell in columns(text, "score")] == [50, 100, 0, 100, 50, 0, 50, 50, 0, 50]
    assert "2 of 4 right = 50.00 %; unparsed 1 (25.00 %, 0.63 to 80.59); missing 0 (0.00 %, 0.00 to 60.24)" in text
    assert (value["accuracy"], value["correct"], value["count"], value["rule"]) == (50.0, 2, 4, "llava")
    assert value["scores"] == {
        "scienceqa/nat": 50.0, "scienceqa/soc": 100.0, "scienceqa/lan": 0.0, "scienceqa/txt": 100.0,
        "scienceqa/img": 50.0, "scienceqa/no": 0.0, "scienceqa/g1-6": 50.0, "scienceqa/g7-12": 50.0,
        "scienceqa/unseen_pair": 0.0, "scienceqa/avg": 50.0, "scienceqa/random": 35.42, "scienceqa/unparsed": 25.0,
        "scienceqa/missing": 0.0,
    }


def test_both_sources_are_quoted_and_a_named_rule_means_the_texts(tmp_path: Path, small: list[str | Path]) -> None:
    path = write_json(
        tmp_path / "p.json", {"results": dict.fromkeys(asked(), 1), "outputs": dict.fromkeys(asked(), "nothing")}
    )
    value = run_json("scienceqa", *small, "--predictions", path)
    assert (value["from"], value["rule"], value["correct"]) == ("stored", None, 2)
    assert value["other_source"] == {"name": "its texts, rule llava", "accuracy": 0.0, "correct": 0}
    value = run_json("scienceqa", *small, "--predictions", path, "--rule", "lenient")
    assert (value["from"], value["rule"], value["correct"]) == ("outputs", "lenient", 0)
    assert "By its stored choices: 2 right = 50.00 %" in run(
        "scienceqa", *small, "--predictions", path, "--from", "outputs"
    )


def test_missing_predictions_are_wrong_only_on_demand(tmp_path: Path, small: list[str | Path]) -> None:
    path = write_json(tmp_path / "p.json", {SEEN: "C"})
    with pytest.raises(ScoringError, match=r"lacks predictions for 3 of 4 questions: pid 7, 3, 21"):
        run("scienceqa", *small, "--predictions", path)
    value = run_json("scienceqa", *small, "--predictions", path, "--missing", "wrong")
    assert (value["correct"], value["count"]) == (1, 4)


def test_another_split_may_be_scored(tmp_path: Path, small: list[str | Path]) -> None:
    path = write_json(tmp_path / "p.json", {"1": "A"})
    assert run_json("scienceqa", *small, "--predictions", path, "--split", "train")["accuracy"] == 100.0


def test_an_ensemble_needs_what_its_scheme_needs(tmp_path: Path, small: list[str | Path]) -> None:
    path = write_json(tmp_path / "p.json", {SEEN: "C"})
    files: list[str | Path] = ["--model", path, "--llm", path]
    with pytest.raises(ScoringError, match="belong together"):
        run("scienceqa-ensemble", *small, *files, "--scheme", "judge")
    with pytest.raises(ScoringError, match="belong together"):
        run("scienceqa-ensemble", *small, *files, "--scheme", "complement", "--requery", path)


def test_judge_reads_the_second_answers_where_both_differ(tmp_path: Path, small: list[str | Path]) -> None:
    def said(name: str, letters: dict[str, str]) -> Path:
        texts = {pid: f"The answer is {letter}." if letter else "" for pid, letter in letters.items()}
        return write_json(tmp_path / f"{name}.json", texts)

    model = said("model", {SEEN: "C", HINTED: "A", PLAIN: "A", UNSEEN: "A"})
    llm = said("llm", {SEEN: "A", HINTED: "B", PLAIN: "A", UNSEEN: ""})
    second = said("second", {SEEN: "C", HINTED: "B"})
    files: list[str | Path] = ["--model", model, "--llm", llm, "--requery", second]
    value = run_json("scienceqa-ensemble", *small, *files, "--scheme", "judge")
    assert (value["accuracy"], value["correct"]) == (75.0, 3)
    assert value["oracle"] == {"accuracy": 75.0, "correct": 3}
    assert value["branches"] == {
        "both agree": {"count": 1, "correct": 1},
        "llm has no answer: the model's": {"count": 1, "correct": 0},
        "they differ: the answer of the second query": {"count": 2, "correct": 2},
    }
    assert value["published"] is None
    text = run("scienceqa-ensemble", *small, *files, "--scheme", "judge")
    assert columns(text, "judge")[-1] == "75.00"
    assert "oracle (either right): 3 of 4 = 75.00 %" in text


def test_reviews_may_be_listed_after_one_option_or_repeated(tmp_path: Path) -> None:
    files = [write_lines(tmp_path / f"{model}.jsonl", [review(0, "conv", 10, model)]) for model in (5, 6, 7)]
    listed = run_json("llava-bench", "--reviews", *files)
    repeated = run_json("llava-bench", "--reviews", files[0], "--reviews", files[1], "--reviews", files[2])
    assert listed == repeated
    assert (listed["mean"], listed["std"]) == ({"conv": 60.0, "all": 60.0}, {"conv": 10.0, "all": 10.0})


def test_a_withheld_review_file_says_so(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "r.jsonl", [review(0, "conv", 8, 8), review(1, "conv", -1, -1)])
    text = run("llava-bench", "--reviews", path)
    assert "withheld" in text
    assert "1 failed, left out: question 1" in text
    value = run_json("llava-bench", "--reviews", path, "--max-failed-share", "0.5")
    assert value["mean"] == {"conv": 100.0, "all": 100.0}


def test_reviews_are_no_predictions_and_the_other_way_round(tmp_path: Path, small: list[str | Path]) -> None:
    reviews = write_lines(tmp_path / "r.jsonl", [review(number, "conv", 8, 8) for number in range(3)])
    answers = write_lines(tmp_path / "a.jsonl", [{"question_id": 3, "answer": "A"}])
    with pytest.raises(ScoringError, match="use `llavaflow score llava-bench`"):
        run("scienceqa", *small, "--predictions", reviews)
    with pytest.raises(ScoringError, match="line 1 is no review"):
        run("llava-bench", "--reviews", answers)


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path, small: list[str | Path]) -> None:
    with pytest.raises(LlavaflowError, match=r"nowhere\.json cannot be read") as caught:
        run("scienceqa", *small, "--predictions", tmp_path / "nowhere.json")
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------------------------------------------- released files


@pytest.fixture
def released() -> Path:
    """Folder of the released files; they are never part of the project."""
    root = os.environ.get("LLAVAFLOW_SHARED_DATA")
    if root is None:
        pytest.skip("LLAVAFLOW_SHARED_DATA does not say where the released files lie")
    return Path(root)


def scienceqa(released: Path, file: str, *more: str) -> str:
    folder = released / "scienceqa"
    return run(
        "scienceqa", "--problems", folder / "problems_test_reconstructed.json", "--splits", folder / "pid_splits.json",
        "--predictions", folder / "predictions" / file, *more,
    )


V0, V15, GPT3 = (
    "test_sqa_llava_13b_v0.json", "llava-v1.5-13b_output.jsonl", "gpt3_cot_final_test_QCM-ALE_2_seed_3.json",
)


def test_llava_13b_from_its_stored_choices_is_the_row_of_the_paper(released: Path) -> None:
    text = scienceqa(released, V0, "--from", "stored")
    assert columns(text, "score") == [
        "90.36", "95.95", "88.00", "89.49", "88.00", "90.66", "90.93", "90.90", "90.92",
    ]
    assert columns(text, "questions") == ["2252", "889", "1100", "2046", "2017", "1435", "2724", "1517", "4241"]
    assert "3856 of 4241 right" in text
    assert "not the published test split" not in text


def test_llava_13b_from_its_texts_lacks_the_lucky_guess(released: Path) -> None:
    text = scienceqa(released, V0, "--from", "outputs", "--rule", "llava")
    assert "3855 of 4241 right = 90.90 %; unparsed 1" in text
    assert "outside the choices: pid 3247" in text


@pytest.mark.parametrize("source", ["stored", "outputs"])
@pytest.mark.parametrize("file", [V15, "llava-v1.5-13b_result.json"])
def test_llava_15_13b_has_its_published_image_score(released: Path, file: str, source: str) -> None:
    text = scienceqa(released, file, "--from", source)
    assert columns(text, "score") == [
        "74.73", "75.59", "72.73", "74.05", "71.64", "73.52", "78.01", "67.90", "74.39",
    ]
    assert "unparsed 38" in text


def test_gpt3_cot_has_its_published_row_from_the_stored_choices_only(released: Path) -> None:
    text = scienceqa(released, GPT3)
    assert columns(text, "score") == [
        "75.44", "70.87", "78.09", "74.68", "67.43", "79.93", "78.23", "69.68", "75.17",
    ]
    assert "By its texts, rule llava: 3061 right" in text


def test_a_summary_without_predictions_says_what_it_is(released: Path) -> None:
    with pytest.raises(ScoringError, match=r"summary without predictions .*3670 of 4241"):
        scienceqa(released, "chameleon_summaries/chameleon_gpt4_test.json")


def test_answers_of_llava_bench_are_not_taken_for_scienceqa(released: Path) -> None:
    with pytest.raises(ScoringError, match=r"only \d+ of its 60 ids are questions of split 'test'"):
        scienceqa(released, "../../llava_bench_wild/answers/llava-v1.5-13b.jsonl", "--missing", "wrong")


def test_the_ensemble_of_released_files_stays_below_its_oracle(released: Path) -> None:
    folder = released / "scienceqa"
    options: list[str | Path] = [
        "scienceqa-ensemble", "--problems", folder / "problems_test_reconstructed.json",
        "--splits", folder / "pid_splits.json", "--model", folder / "predictions" / V0,
        "--llm", folder / "predictions" / GPT3, "--scheme", "complement",
    ]
    value = run_json(*options)
    assert value["branches"] == {
        "llm answered: its answer": {"count": 3992, "correct": 3061},
        "llm has no answer: the model's": {"count": 249, "correct": 188},
    }
    assert (value["correct"], value["accuracy"]) == (3249, 76.61)
    assert value["published"] is not None
    assert run_json(*options) == value


def test_the_three_reviews_of_llava_15_13b_have_their_published_mean(released: Path) -> None:
    reviews = sorted((released / "llava_bench_wild" / "reviews").glob("llava-v1.5-13b-eval*.jsonl"))
    value = run_json("llava-bench", "--reviews", *reviews)
    parts = value["reviews"]
    assert isinstance(parts, list)
    rows = [part["rows"] for part in parts if isinstance(part, dict)]
    whole = [row["all"] for row in rows if isinstance(row, dict)]
    assert [row["value"] for row in whole if isinstance(row, dict)] == [72.8, 72.7, 72.1]
    assert isinstance(value["mean"], dict)
    assert value["mean"]["all"] == 72.5
    lines = run("llava-bench", "--reviews", *reviews).splitlines()
    assert [line.split()[1] for line in lines if line.startswith("all ")] == ["72.8", "72.7", "72.1", "72.5"]
