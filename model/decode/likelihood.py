"""How likely given answers are, the prompt of a question being read once for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.decode.engine import PREFILL_TOKENS, Job
from model.decode.forward import Forward
from model.decode.images import ImagesAhead
from model.decode.slots import Continued
from model.images import ImageTransform


@dataclass(frozen=True)
class Likelihood:
    """The natural logarithm of an answer's probability given its prompt, the end mark left out, and its tokens."""

    log_probability: float
    tokens: int


def likelihoods(
    forward: Forward, transform: ImageTransform, jobs: Sequence[Job], answers: Sequence[Sequence[Sequence[int]]],
    batch: int,
) -> Iterator[tuple[int, list[Likelihood]]]:
    """(number, one likelihood a given answer) of every job, `answers` being those of each job as ids.

    `batch` bounds the answers that are scored at once; the first token of an answer comes from the pass over the
    prompt, the others from a pass that goes on from the prompt's keys and values.
    """
    order = sorted(range(len(jobs)), key=lambda index: -len(jobs[index].prompt))
    images = [image for index in order for image in jobs[index].images]
    with ImagesAhead(images, transform, forward.see, ahead=2 * batch) as ahead:
        while order:
            several = _so_many([jobs[index] for index in order], [answers[index] for index in order], batch)
            now, order = order[:several], order[several:]
            asked, given = [jobs[index] for index in now], [answers[index] for index in now]
            shown = ahead.features([image for job in asked for image in job.images])
            yield from _scored(forward, asked, given, shown)


def _so_many(jobs: Sequence[Job], answers: Sequence[Sequence[Sequence[int]]], batch: int) -> int:
    """How many of the first jobs fit into one go."""
    count = rows = 0
    width = len(jobs[0].prompt)
    while count < len(jobs):
        rows += len(answers[count])
        if count and (rows > batch or (count + 1) * width > PREFILL_TOKENS):
            break
        count += 1
    return count


def _scored(
    forward: Forward, jobs: Sequence[Job], answers: Sequence[Sequence[Sequence[int]]], shown: Sequence[Tensor]
) -> Iterator[tuple[int, list[Likelihood]]]:
    kept, first = forward.prefill([job.prompt for job in jobs], shown)
    owners = torch.tensor([at for at, given in enumerate(answers) for _ in given])
    flat = [answer for given in answers for answer in given]
    lengths = torch.tensor([len(job.prompt) for job in jobs])
    logits = first[owners.to(first.device)].unsqueeze(1)
    before = [answer[:-1] for answer in flat]
    if any(before):
        cache = Continued(kept, owners.to(forward.device))
        logits = torch.cat([logits, forward.behind(before, lengths[owners], cache, int(lengths.max()))], dim=1)
    scores = torch.log_softmax(logits.double(), dim=-1).cpu()
    found = iter([_sum(scores[row], answer) for row, answer in enumerate(flat)])
    for job, given in zip(jobs, answers, strict=True):
        yield job.number, [next(found) for _ in given]


def _sum(scores: Tensor, answer: Sequence[int]) -> Likelihood:
    told = scores[torch.arange(len(answer)), torch.tensor(list(answer))]
    return Likelihood(float(told.sum()), len(answer))
