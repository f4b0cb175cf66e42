from __future__ import annotations

import json
from pathlib import Path

from tasks.report.collect import read_watched


def line(step: int, key: str) -> str:
    told = {"step": step, "key": key, "picture": f"answers/{key}.png", "question": "What?", "wanted": "A ball."}
    return json.dumps({**told, "answer": f"{key} after {step}"})


def test_answers_on_the_way_are_shown_at_a_few_steps_by_sample_the_last_among_them(tmp_path: Path) -> None:
    lines = [line(step, key) for step in range(10, 210, 10) for key in ("one", "two")]
    (tmp_path / "answers.jsonl").write_text("\n".join(lines))
    found = read_watched("instruct", tmp_path, shown=4)
    assert [(watched.stage, watched.key, watched.image) for watched in found] == [
        ("instruct", key, tmp_path / "answers" / f"{key}.png") for key in ("one", "two")
    ]
    for watched in found:
        steps = [step for step, _ in watched.answers]
        assert len(steps) == 4 and steps == sorted(set(steps)) and steps[-1] == 200
        assert watched.answers[-1][1] == f"{watched.key} after 200"


def test_a_stage_that_asked_nothing_shows_nothing(tmp_path: Path) -> None:
    assert read_watched("align", tmp_path) == ()
