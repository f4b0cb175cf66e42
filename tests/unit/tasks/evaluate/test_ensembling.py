"""The LLM is asked what the model was asked, again only where both differ, and every fallback is counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.schema import EnsembleConfig, EvaluateConfig, ScienceQAConfig, ScriptedEndpoint
from tasks.errors import ConfigError
from tasks.evaluate import ensembling
from tasks.evaluate.ensemble import Branch
from tasks.evaluate.report import EnsembleReport, Report, flat, read_report
from tasks.evaluate.run import build_evaluation
from tasks.evaluate.scienceqa import TEST_SIZES
from tasks.progress import Silent
from tasks.scripted import solver
from tests.fakes.models import Judge, Model
from tests.unit.tasks.evaluate.sets import HINTED, PLAIN, SEEN, UNSEEN, asked, scienceqa_set

LLM = ScriptedEndpoint(kind="scripted")
TEXTS = {SEEN: "The answer is C.", HINTED: "The answer is A.", PLAIN: "no idea", UNSEEN: "The answer is B."}
"""Right, wrong, without an answer, right."""


def prepared(root: Path, **changes: object) -> ensembling.Prepared:
    config = EnsembleConfig.model_validate({"llm": LLM, "shots": 0, "rule": "scienceqa-official", **changes})
    evaluate = EvaluateConfig(scienceqa=ScienceQAConfig(ensemble=config), bootstrap=200)
    found = ensembling.prepare(scienceqa_set(root), asked(), evaluate, seed=4)
    assert found is not None
    return found


def says(**by_question: str) -> Judge:
    """An LLM that says what its question's name is given; second queries have a name of their own."""
    names = {"circle?": "seen", "hot?": "hinted", "wet?": "plain", "yellow?": "unseen"}

    def say(text: str, attempt: int) -> str | None:
        name = next(name for words, name in names.items() if words in text)
        said = by_question.get(f"{name}_again" if "[Answer 2]" in text else name, "I cannot tell.")
        return None if said == "down" else said

    return Judge(say)


def run(root: Path, llm: Judge, **changes: object) -> tuple[EnsembleReport, dict[str, ensembling.Combined]]:
    report, combined = ensembling.run(prepared(root, **changes), TEXTS, llm, lambda done: None)
    return report, {row.id: row for row in combined}


def test_the_llm_is_asked_again_only_where_it_differs_and_with_both_answers(tmp_path: Path) -> None:
    llm = says(hinted="Fire. The answer is B.", hinted_again="Still. The answer is B.", unseen="The answer is B.")
    report, combined = run(tmp_path, llm)
    assert llm.rounds == [(1, 4), (1, 1)]
    again = llm.requests[-1][-1].content
    assert again.startswith("Which is hot?")
    assert again.index("Fire. The answer is B.") < again.index("[Answer 2]\nThe answer is A.")
    assert {pid: row.branch for pid, row in combined.items()} == {
        SEEN: Branch.LLM_FAILED, HINTED: Branch.REQUERY, PLAIN: Branch.LLM_FAILED, UNSEEN: Branch.AGREE,
    }
    assert report.branches == {Branch.AGREE: 1, Branch.LLM_FAILED: 2, Branch.REQUERY: 1}
    assert report.guesses == {"model has no answer": 1, "decided by a guess": 1}
    assert report.counts["second queries"] == 1
    # The guess on the question that nobody answered is no gain by reading, whether it was lucky or not.
    assert report.counts["guesses right"] == (combined[PLAIN].outcome == "right")
    assert report.difference_read.value == 25.0
    assert report.rows["llm"]["avg"].right == 2
    right = sum(row.outcome == "right" for row in combined.values())
    assert report.rows["judge"]["avg"].right == right >= 3
    assert report.oracle.right is not None
    assert report.oracle.right >= right


def test_complement_asks_nobody_twice(tmp_path: Path) -> None:
    llm = says(hinted="The answer is B.", seen="The answer is A.")
    report, combined = run(tmp_path, llm, scheme="complement")
    assert llm.rounds == [(1, 4)]
    assert combined[SEEN].branch == Branch.LLM
    assert combined[SEEN].outcome == "wrong"
    assert list(report.rows) == ["model", "llm", "complement"]


def test_what_the_endpoint_fails_to_answer_is_asked_again_and_counted_what_it_answers_is_not(tmp_path: Path) -> None:
    llm = says(seen="down", hinted="The answer is B.", hinted_again="down")
    report, combined = run(tmp_path, llm)
    assert llm.rounds == [(1, 4), (2, 1), (3, 1), (1, 1), (2, 1), (3, 1)]
    assert (report.counts["llm failed"], report.counts["llm without answer"]) == (1, 3)
    assert report.counts["second queries without answer"] == 1
    assert combined[HINTED].branch == Branch.REQUERY_FAILED


def test_an_answer_with_braces_or_our_own_marks_is_passed_on_as_it_is(tmp_path: Path) -> None:
    llm = says(hinted="{model} {llm} {0}. The answer is B.", hinted_again="The answer is B.")
    run(tmp_path, llm)
    again = llm.requests[-1][-1].content
    assert "{model} {llm} {0}. The answer is B.\n\n[Answer 2]\nThe answer is A.\n\nWeigh both" in again


def test_solved_questions_come_from_the_training_split_and_show_no_image(tmp_path: Path) -> None:
    found = prepared(tmp_path, shots=2)
    system, question, answer, *rest = found.request(asked()[SEEN])
    assert (system.role, question.role, answer.role) == ("system", "user", "assistant")
    assert question.content.startswith("Train?")
    assert answer.content == "The answer is A."
    assert [message.role for message in rest] == ["user"]
    assert "<image>" not in rest[0].content
    report, _ = ensembling.run(found, TEXTS, says(), lambda done: None)
    assert (report.settings["shots"], report.settings["shots_wanted"]) == (1, 2)


def test_without_a_training_split_none_are_shown(tmp_path: Path) -> None:
    root = scienceqa_set(tmp_path)
    (root / "pid_splits.json").write_text(f'{{"test": {list(asked())}}}'.replace("'", '"'))
    config = EnsembleConfig(llm=LLM)
    evaluate = EvaluateConfig(scienceqa=ScienceQAConfig(ensemble=config))
    found = ensembling.prepare(root, asked(), evaluate, 0)
    assert found is not None
    assert found.shots == ()


def test_the_paper_s_table_stands_beside_and_says_whether_it_may_be_compared(tmp_path: Path) -> None:
    report, _ = run(tmp_path, says())
    assert report.published["LLaVA + GPT-4 judge"]["avg"] == 92.53
    assert not report.comparable
    assert TEST_SIZES["avg"] != (len(asked()),)
    assert (report.p_value, report.difference.n) == (1.0, 4)


def test_the_stage_reports_the_ensemble_and_keeps_what_was_said(tmp_path: Path) -> None:
    root = scienceqa_set(tmp_path / "sqa")
    config = EvaluateConfig(
        scienceqa=ScienceQAConfig(ensemble=EnsembleConfig(llm=LLM, shots=0)), blind=False, bootstrap=200
    )
    seen: list[tuple[int, int]] = []

    class Recording(Silent):
        def update(self, done: int, total: int, **shown: float | str) -> None:
            seen.append((done, total))

    (tmp_path / "out").mkdir()
    model = Model(lambda prompt: "The answer is A.")
    arguments = (tmp_path / "out", {"scienceqa": root}, config, model, None, 0, Recording())
    with pytest.raises(ConfigError, match=r"evaluate\.scienceqa\.ensemble needs an LLM"):
        build_evaluation(*arguments)
    build_evaluation(*arguments, llm=says(hinted="The answer is B."))
    report: Report = read_report(tmp_path / "out")
    ensemble = report.benchmarks["scienceqa"].ensemble
    assert ensemble is not None
    assert dict(flat(report.benchmarks["scienceqa"]))["avg_judge"] == ensemble.rows["judge"]["avg"].value
    lines = (tmp_path / "out" / ensembling.FILE).read_text().splitlines()
    assert [ensembling.Combined.model_validate_json(line).id for line in lines] == list(asked())
    assert seen[-1] == (4 + 8, 4 + 8)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_the_scripted_llm_answers_what_a_hint_settles_and_nothing_else(tmp_path: Path) -> None:
    hint = "There is a red circle in the top left."
    options = [("A", "bottom left"), ("B", "top left"), ("C", "top right")]
    assert solver.solve("Where is the red circle?", hint, options).endswith("The answer is B.")
    assert solver.solve("Where is the red circle?", "N/A", options) == solver.NO_ANSWER
    report, combined = ensembling.run(
        prepared(tmp_path), TEXTS,
        Judge(lambda text, attempt: solver.solve("?", text, [])), lambda done: None,
    )
    assert report.counts["llm without answer"] == 4
    assert all(row.llm == solver.NO_ANSWER for row in combined)
