"""Lineage searches over a generated conversation set and shard set of a million samples.

    python -m tests.benchmarks.lineage [--samples N]

Only what lineage reads is there: origins, indices, annotations, manifests. Times are of the whole search, manifests
read anew, files in the page cache. Prints a markdown row.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from configs.settings import Settings
from flows.lineage.command import Question, lineage
from flows.places import store_of
from tasks.artifacts import Artifact, Checkpoint, ConversationSet, ImageSet, MadeBy, ShardSet
from tasks.origins import ORIGINS, Origin
from tasks.register.provenance import Made, Provenance
from tasks.storage import Store, make_manifest
from tests.fakes.lineage_store import MadeRegistry

BY = MadeBy(stage="s", code="c", config="d", created="2026-11-22T12:00:00+00:00")


def main() -> None:
    """Generate, measure, and print the row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1_000_000)
    number = parser.parse_args().samples
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        registry = _generate(home, number)
        image, answer = _digest("image", number // 2), _digest("answer", number // 2)
        seconds = [
            _timed(partial(lineage, asked, registry, Settings(root=home)))
            for asked in (
                Question(image=image), Question(image=f"image-{number // 2:09d}"), Question(answer=answer),
                Question(prompts="prompts"), Question(model="1"),
            )
        ]
        samples = _timed(lambda: lineage(Question(model="1"), registry, Settings(root=home), samples=home / "samples"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    cells = " | ".join(f"{one:.2f}" for one in (*seconds, samples))
    sys.stdout.write(f"| {number:,} | {cells} | {peak:.1f} |\n")


def _timed(search: Callable[[], object]) -> float:
    started = time.perf_counter()
    search()
    return time.perf_counter() - started


def _digest(what: str, number: int) -> str:
    return hashlib.sha256(f"{what} {number}".encode()).hexdigest()


def _generate(home: Path, number: int) -> MadeRegistry:
    store = store_of(Settings(root=home))
    images = _write(
        store, ImageSet, "ingest", {}, {"annotations.jsonl": (
            f'{{"id":"image-{one:09d}","part":"images/part-00000.tar","span":[0,100000],"format":"jpg","width":640,'
            f'"height":480,"sha256":"{_digest("image", one)}","captions":["{"a caption of the usual length " * 2}"]}}\n'
            for one in range(number)
        )},
    )  # fmt: skip
    origins = (
        Origin(
            id=f"image-{one:09d}-detail", kind="detail", image=f"image-{one:09d}", sha256=_digest("image", one),
            answers=(_digest("answer", one),),
        ).line() + "\n"
        for one in range(number)
    )
    talks = _write(store, ConversationSet, "generate", {"ingest": images.digest}, {ORIGINS: origins})
    index = (
        f'{{"key":"image-{one:09d}-detail","shard":"instruct/shard-{one % 997:04d}.tar","json":[{one * 512},900,'
        f'"{_digest("json", one)}"],"image":[{one * 512},100000,"{_digest("image", one)}"]}}\n'
        for one in range(number)
    )
    empty = {f"index/{name}.jsonl": () for name in ("align", "held_out_align", "held_out_instruct")}
    parents = {"ingest": images.digest, "generate": talks.digest}
    shards = _write(store, ShardSet, "shard", parents, {"index/instruct.jsonl": index, "shards.jsonl": (), **empty})
    checkpoint = _write(store, Checkpoint, "instruct", {"shard": shards.digest}, {})
    tags = {"checkpoint": checkpoint.digest, "data.shards": shards.digest, "data.conversations": talks.digest}
    made = {name: _made(one) for name, one in (("generate", talks), ("shard", shards), ("instruct", checkpoint))}
    registry = MadeRegistry(kept=[("1", "run", tags)])
    registry.texts["1", "provenance.json"] = Provenance(
        stages=made, lock=None, seeds={}, hardware={}, seconds=1.0, device_hours=1.0, teacher_usd=None
    ).model_dump_json()
    return registry


def _write(
    store: Store, kind: type[Artifact], stage: str, parents: dict[str, str], files: Mapping[str, Iterable[str]]
) -> Artifact:
    folder = store.workspace(stage, stage)
    for name, lines in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with (folder / name).open("w") as handle:
            handle.writelines(lines)
    manifest = make_manifest(folder, kind.kind, stage, {}, {}, {"prompts": "prompts"}, parents, BY)
    store.publish(folder, stage, manifest)
    return store.descriptor(kind, stage, manifest)


def _made(artifact: Artifact) -> Made:
    return Made(
        digest=artifact.digest, key=artifact.key, uri=artifact.uri, parents=artifact.parents, code="", config="",
        created="", seconds=0.0, git_commit=None, git_dirty=None, libraries={},
    )


if __name__ == "__main__":
    main()
