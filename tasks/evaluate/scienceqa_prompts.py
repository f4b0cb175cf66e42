"""What a model is asked of ScienceQA: with its images, with captions in their place, with examples in front."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from configs.schema import ScienceQAConfig
from model.questions import Problem, few_shot_prompt, prompt_of
from model.sampling import Sampling
from tasks.errors import DataError
from tasks.evaluate.answers import Prompt
from tasks.evaluate.json_files import read_object
from tasks.evaluate.pictures import check_readable, first_there
from tasks.evaluate.scienceqa import load_split


@dataclass(frozen=True)
class Questions:
    """The questions to ask, with the images that were found, and how many had to be left out."""

    problems: dict[str, Problem]
    images: dict[str, Path]
    image_missing: int
    captions: Mapping[str, str] = field(default_factory=dict)
    """Captions of these questions and of the examples, where captions are shown."""
    examples: Mapping[str, Problem] = field(default_factory=dict)
    """Answered questions that stand in front of each, by pid."""

    shown: bool = True
    """False where neither images nor captions are shown."""

    @property
    def withheld(self) -> list[str]:
        """Questions that the blind part asks again: those that show an image, or the caption that stands for it."""
        return [pid for pid in self.problems if self.shown and pid in (self.captions or self.images)]

    @property
    def uncaptioned(self) -> int:
        """Questions with an image that has no caption, where captions are shown."""
        named = [pid for pid, problem in self.problems.items() if problem.image]
        return sum(pid not in self.captions for pid in named) if self.captions else 0


def load_questions(root: Path, config: ScienceQAConfig) -> Questions:
    """The questions of the split in its order, at most `limit` of them.

    A question whose image is to be shown and not there is left out and counted, for partial copies of the official set
    are common. Raises DataError if no image at all is there, or one cannot be read; if captions or examples are wanted
    and not there.
    """
    problems = _split(root, config, config.split)
    named = {pid: problem for pid, problem in problems.items() if problem.image}
    images = {pid: path for pid, problem in named.items() if (path := _image(root, config, pid, problem))}
    shown = config.image_as == "image"
    if shown and named and not images:
        pid = next(iter(named))
        raise DataError(
            f"none of the {len(named)} images of split '{config.split}' is there: looked for {root / config.images}/"
            f"{config.split}/{pid}/{named[pid].image} and without the split; set evaluate.scienceqa.images"
        )
    askable = [pid for pid in problems if pid in images or pid not in named or not shown][: config.limit]
    for pid in askable:
        if pid in images:
            check_readable(images[pid], f"question {pid}")
    chosen = {pid: problems[pid] for pid in askable}
    examples = _examples(root, config) if config.shots else {}
    return Questions(
        chosen,
        {pid: images[pid] for pid in askable if pid in images},
        len(named) - len(images) if shown else 0,
        _captions(root / config.captions, chosen | examples) if config.image_as == "caption" else {},
        examples,
        shown=config.image_as != "none",
    )


def prompts_of(questions: Questions, config: ScienceQAConfig, *, blind: bool) -> dict[str, Prompt]:
    """What is asked, by pid. Blind: the questions that show something only, without it; the others are the same."""
    sampling = Sampling(config.temperature, config.top_p, config.sampling_seed)
    return {
        pid: Prompt(
            _text(questions, config, pid, blind),
            questions.images.get(pid) if config.image_as == "image" and not blind else None,
            config.max_new_tokens,
            sampling=sampling,
        )
        for pid in (questions.withheld if blind else questions.problems)
    }


def _text(questions: Questions, config: ScienceQAConfig, pid: str, blind: bool) -> str:
    problem, caption = questions.problems[pid], "" if blind else questions.captions.get(pid, "")
    if questions.examples:
        shown = [(example, questions.captions.get(name, "")) for name, example in questions.examples.items()]
        return few_shot_prompt(problem, config.prompt_format, shown, caption)
    seen = config.image_as == "image" and pid in questions.images and not blind
    return prompt_of(problem, config.prompt_format, with_image=seen, caption=caption)


def _split(root: Path, config: ScienceQAConfig, split: str) -> dict[str, Problem]:
    splits = root / config.splits
    return load_split(root / config.problems, splits if splits.is_file() else None, split)


def _examples(root: Path, config: ScienceQAConfig) -> dict[str, Problem]:
    """So many questions of the split of examples, drawn under their seed; none of the split that is asked."""
    if config.shots_split == config.split:
        raise DataError(f"examples of split '{config.split}' give answers away; set evaluate.scienceqa.shots_split")
    there = _split(root, config, config.shots_split)
    if len(there) < config.shots:
        raise DataError(f"split '{config.shots_split}' has {len(there)} questions, {config.shots} examples are wanted")
    return {pid: there[pid] for pid in random.Random(config.shots_seed).sample(sorted(there), config.shots)}


def _captions(path: Path, problems: Mapping[str, Problem]) -> dict[str, str]:
    """Captions of the questions that have an image. Raises DataError if there is none at all."""
    told = read_object(path)
    held = told.get("captions", told)
    known = held if isinstance(held, dict) else {}
    found = {pid: text for pid in problems if problems[pid].image and isinstance(text := known.get(pid), str)}
    if not found:
        raise DataError(f"{path} holds no caption of any question that has an image; set evaluate.scienceqa.captions")
    return found


def _image(root: Path, config: ScienceQAConfig, pid: str, problem: Problem) -> Path | None:
    assert problem.image is not None
    folder = root / config.images
    return first_there([folder / config.split / pid / problem.image, folder / pid / problem.image])
