"""Stage generate, as the orchestrator runs it."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.artifacts import ConversationSet, ImageSet
from tasks.generate.run import build_conversations
from tasks.ledger.ledger import Budget
from tasks.making import StageRun
from tasks.progress import Progress
from tasks.stages import Built, StageSpec

TITLE = "generate {run.experiment.generate.samples} conversations"


@task(name="generate", task_run_name=TITLE, cache_policy=NO_CACHE)
def generate(run: StageRun, spec: StageSpec[ConversationSet], images: ImageSet) -> ConversationSet:
    """Conversations that the teacher writes from captions and boxes."""

    def build(folder: Path, progress: Progress) -> Built:
        config, seed = run.experiment.generate, run.experiment.seed
        if config.teacher is None:
            return build_conversations(folder, run.local(images), config, seed, None, progress)
        budget = None if config.budget_usd is None else Budget(config.budget_usd, "generate.budget_usd")
        with run.asking(config.teacher, "teacher", budget, progress) as asker:
            return build_conversations(folder, run.local(images), config, seed, asker, progress)

    return run.make(spec, build)
