"""Generation killed at 50 random moments against a faulty endpoint: a row for docs/benchmarks.md.

    python -m tests.benchmarks.killed [--kills 50] [--samples 1200] [--seed 0]

It fails if the files differ from an undisturbed run's, or if the endpoint's count of answers, the ledger and the kills
disagree about what was sent more than once.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.fakes.killed_generation import (
    FaultyTeacher,
    Job,
    Story,
    faults_of,
    finish,
    kill_again_and_again,
    rows,
    write_images,
)

LATENCY = 0.05
LONGEST = 1.5
"""Seconds after which a process is killed at the latest."""


def main() -> int:
    """Run it and print the row; returns the exit status."""
    asked = _arguments()
    with tempfile.TemporaryDirectory(prefix="llavaflow-killed-") as folder:
        whole = Path(folder) / "whole"
        with FaultyTeacher(seed=None, latency=0.0) as server:
            undisturbed = Job(whole, server.base_url, asked.samples)
            write_images(undisturbed.root / "images")
            finish(undisturbed)
        with FaultyTeacher(asked.seed, LATENCY) as server:
            job = Job(Path(folder) / "killed", server.base_url, asked.samples)
            write_images(job.root / "images")
            story = kill_again_and_again(job, asked.kills, LONGEST, asked.seed)
            wrong = faults_of(job, story, server.whole)
        if job.files() != undisturbed.files():
            wrong.append("the files differ from those of the undisturbed run")
        sys.stdout.write(_row(job, story, server, wrong))
    return 1 if wrong else 0


def _row(job: Job, story: Story, server: FaultyTeacher, wrong: list[str]) -> str:
    sizes = {name: len(content.splitlines()) for name, content in job.files().items()}
    twice = sum(times > 1 for times in server.whole.values())
    again = sum(sends > 1 for _, _, _, sends in rows(job))
    faults = ", ".join(f"{number} {kind}" for kind, number in sorted(server.went_wrong.items()))
    verdict = "identical files, no disagreement" if not wrong else "; ".join(wrong[:5])
    return (
        f"| generate, killed (-9) {story.kills} times: {sizes['conversations.jsonl']:,} conversations, "
        f"{sizes['rejected.jsonl']} rejected, {len(server.whole):,} requests answered | {verdict}; {again} keys sent "
        f"more than once, all of them in flight at a kill ({len(story.in_flight)} in all), {twice} of them answered "
        f"more than once; faults: {faults} | {story.seconds:.0f} s | `python -m tests.benchmarks.killed` |\n"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--samples", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
