"""ScienceQA questions as prompts and targets, in the published formats. Pure: no torch.

Formats name input and output: Q question, C context (hint), M choices; A answer, L lecture, E explanation (solution).
QCM-A, QCM-EA and QCM-LEA are ScienceQA's own, QCM-E is the explanation alone (scored by the choice it names), QCM-LEPA
is that of LLaVA's fine-tune, CQM-A that of LLaVA-1.5's zero-shot evaluation (context first, bare letters, and a closing
instruction).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

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


def prompt_of(
    problem: Problem, prompt_format: PromptFormat, *, with_image: bool | None = None, caption: str = ""
) -> str:
    """The human turn of a question.

    The image token stands in front, where LLaVA's preprocessing moves it since v1.0. `with_image=False` withholds
    the image (the blind baseline); by default a question has one if the problem names one. A `caption` that stands for
    the image follows the hint, as in ScienceQA's base_prompt.py.
    """
    shown = problem.image is not None if with_image is None else with_image
    question, hint = problem.question, f"{problem.hint.strip()} {caption}".strip()
    if prompt_format == "CQM-A":
        lines = [f"Context: {hint}"] if hint else []
        lines += [question, *(f"{letter(index)}. {choice}" for index, choice in enumerate(problem.choices))]
        lines.append(LETTER_INSTRUCTION)
    else:
        lines = [question, f"Context: {hint or 'N/A'}", f"Options: {options(problem.choices)}"]
    return (f"{IMAGE_TOKEN}\n" if shown else "") + _single_spaced("\n".join(lines))


def few_shot_prompt(
    problem: Problem, prompt_format: PromptFormat, examples: Sequence[tuple[Problem, str]], caption: str = ""
) -> str:
    """Answered examples, each with its caption, and the question behind them, its answer left open.

    Source: base_prompt.py of the ScienceQA repository (labels, order, blank lines). For CQM-A examples are answered
    with the sentence, as there.
    """
    answered = "QCM-A" if prompt_format == "CQM-A" else prompt_format
    told = [
        f"{_labelled(example, prompt_format, shown)} {target_of(example, answered)}" for example, shown in examples
    ]
    return "\n\n".join(_single_spaced(text) for text in (*told, _labelled(problem, prompt_format, caption)))


def _labelled(problem: Problem, prompt_format: PromptFormat, caption: str) -> str:
    question = f"Question: {problem.question}"
    context = f"Context: {f'{problem.hint.strip()} {caption}'.strip() or 'N/A'}"
    first, second = (context, question) if prompt_format == "CQM-A" else (question, context)
    return f"{first}\n{second}\nOptions: {options(problem.choices)}\nAnswer:"


def candidates_of(problem: Problem, prompt_format: PromptFormat) -> list[str]:
    """What each choice would be answered with, none of it telling the truth: the texts that likelihoods compare."""
    letters = [letter(index) for index in range(len(problem.choices))]
    if prompt_format == "CQM-A":
        return letters
    named = problem.choices if prompt_format == "QCM-E" else letters
    return [f"The answer is {name}." for name in named]


class Cue(NamedTuple):
    """What makes a model that has reasoned answer: `text` is put behind its reasoning, which ends where `mark` begins
    if the model went on to an answer by itself."""

    text: str
    mark: str


def cue_of(prompt_format: PromptFormat) -> Cue:
    """The cue of the second pass. That of QCM-LEPA is LLaVA's (model_vqa_science.py of April 2023)."""
    return Cue("\n###\nANSWER:", "###") if prompt_format == "QCM-LEPA" else Cue(" The answer is", "The answer is")


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
