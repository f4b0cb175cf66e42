"""ScienceQA questions as prompts and targets, in the published formats. Pure: no torch.

Formats name input and output: Q question, C context (hint), M choices; A answer, L lecture, E explanation (solution).
QCM-A, QCM-EA and QCM-LEA are ScienceQA's own, QCM-E is the explanation alone (scored by the choice it names), QCM-LEPA
is that of LLaVA's fine-tune, CQM-A that of LLaVA-1.5's zero-shot evaluation (context first, bare letters, and a closing
instruction).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from model.records import IMAGE_TOKEN, Record

PromptFormat = Literal["QCM-A", "QCM-E", "QCM-EA", "QCM-LEA", "QCM-LEPA", "CQM-A"]
LETTERS = "ABCDE"
LETTER_INSTRUCTION = "Answer with the option's letter from the given choices directly."


class Problem(Record):
    """One entry of problems.json. `image` is a file name or None; `answer` an index into `choices`."""

    question: str
    choices: tuple[str, ...]
    answer: int
    hint: str = ""
    image: str | None = None
    task: str = ""
    grade: str = ""
    subject: str = ""
    topic: str = ""
    category: str = ""
    skill: str = ""
    lecture: str = ""
    solution: str = ""
    split: str = ""


def letter(index: int) -> str:
    """The letter of a choice."""
    return LETTERS[index]


def options(choices: Sequence[str]) -> str:
    """Choices on one line: (A) red (B) blue."""
    return " ".join(f"({letter(index)}) {choice}" for index, choice in enumerate(choices))


def prompt_of(problem: Problem, prompt_format: PromptFormat, *, with_image: bool | None = None) -> str:
    """The human turn of a question.

    The image token stands in front, where LLaVA's preprocessing moves it since v1.0. `with_image=False` withholds
    the image (the blind baseline); by default a question has one if the problem names one.
    """
    shown = problem.image is not None if with_image is None else with_image
    question, hint = problem.question, problem.hint.strip()
    if prompt_format == "CQM-A":
        lines = [f"Context: {hint}"] if hint else []
        lines += [question, *(f"{letter(index)}. {choice}" for index, choice in enumerate(problem.choices))]
        lines.append(LETTER_INSTRUCTION)
    else:
        lines = [question, f"Context: {hint or 'N/A'}", f"Options: {options(problem.choices)}"]
    return (f"{IMAGE_TOKEN}\n" if shown else "") + _single_spaced("\n".join(lines))


def target_of(problem: Problem, prompt_format: PromptFormat) -> str:
    """The gpt turn that answers it."""
    answer = letter(problem.answer)
    sentence = f"The answer is {answer}."
    if prompt_format == "CQM-A":
        return answer
    if prompt_format == "QCM-A":
        return sentence
    lecture, solution = _single_spaced(problem.lecture), _single_spaced(problem.solution)
    if prompt_format == "QCM-E":
        return solution or f"The answer is {problem.choices[problem.answer]}."
    if prompt_format == "QCM-LEPA":
        told = [f"LECTURE: {lecture}"] * bool(lecture) + [f"SOLUTION: {solution}"] * bool(solution)
        return _single_spaced("\n".join([*told, "###", f"ANSWER: {answer}."]))
    parts = (solution, sentence) if prompt_format == "QCM-EA" else (lecture, solution, sentence)
    return " ".join(part for part in parts if part)


def _single_spaced(text: str) -> str:
    """As published: each two spaces become one, once over, and the ends are bare."""
    return text.replace("  ", " ").strip()
