from __future__ import annotations

import os
from pathlib import Path

from tasks.ingest.fingerprint import fingerprint
from tasks.ingest.places import Place
from tests.unit.tasks.ingest.sets import COCO, JSONL, CocoFiles, picture


def test_a_fingerprint_changes_with_annotations_and_images_alone(tmp_path: Path) -> None:
    coco = CocoFiles(tmp_path)
    coco.good(2)
    root = coco.write()
    seen = [fingerprint(COCO, Place(str(root)))]
    (root / "unrelated.txt").write_text("x", encoding="utf-8")
    assert fingerprint(COCO, Place(str(root))) == seen[0]
    (root / "captions.json").write_text("{}", encoding="utf-8")
    seen.append(fingerprint(COCO, Place(str(root))))
    (root / "images" / "new.png").write_bytes(picture())
    seen.append(fingerprint(COCO, Place(str(root))))
    os.utime(root / "images" / "good0.png", ns=(1, 1))
    seen.append(fingerprint(COCO, Place(str(root))))
    assert len(set(seen)) == 4


def test_missing_files_have_a_fingerprint_too(tmp_path: Path) -> None:
    assert fingerprint(JSONL, Place(str(tmp_path))) == fingerprint(JSONL, Place(str(tmp_path / "nowhere")))
