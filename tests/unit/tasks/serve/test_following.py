"""The alias moves: loaded beside, checked, switched without a dropped request, taken back if it fails."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import openai
import pytest

from tasks.serve.following import REFUSED, RESTARTED, SWITCHED, TAKEN_BACK, Canary, Probe
from tests.fakes.serving import Echo, Endpoint, Versions, asking, knobs, parts, picture, serving, until


def two() -> Versions:
    return Versions({"1": Echo("one"), "2": Echo("two")})


def says(endpoint: Endpoint) -> str:
    body: Any = asking("hello")
    return str(endpoint.client().chat.completions.create(**body).choices[0].message.content)


def test_a_moved_alias_is_followed_and_told() -> None:
    versions = two()
    with serving(parts(versions)) as endpoint:
        assert says(endpoint) == "one hello"
        versions.alias = "2"
        until(lambda: endpoint.gateway.champion.now is not None and endpoint.gateway.champion.now.version == "2")
        assert says(endpoint) == "two hello"
        assert endpoint.figure("llavaflow_model", version="2") == 1
        assert endpoint.figure("llavaflow_model", version="1") == 0
        until(lambda: versions.engines["1"].closed)
        assert versions.told == [(SWITCHED, "1"), (SWITCHED, "2")] and not versions.engines["2"].closed


def test_a_request_under_way_ends_on_the_model_that_began_it() -> None:
    versions = two()
    old = versions.engines["1"]
    with serving(parts(versions)) as endpoint:
        old.held = True
        body: Any = asking("a b c", stream=True)
        stream = endpoint.client().chat.completions.create(**body)
        versions.alias = "2"
        until(lambda: SWITCHED in [event for event, version in versions.told if version == "2"])
        assert says(endpoint) == "two hello", "new requests do not wait for it"
        until(lambda: endpoint.gateway.champion.before is None)
        assert not old.closed
        old.held = False
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "one a b c"
        until(lambda: old.closed)


@pytest.mark.parametrize(("answer", "share", "passes"), [("two so", 1.0, True), ("no", 1.0, False), ("no", 0.0, True)])
def test_a_version_that_fails_its_canary_never_answers(answer: str, share: float, passes: bool) -> None:
    versions = two()
    versions.canaries["2"] = Canary((Probe(b"", "so", answer),), share=share)
    with serving(parts(versions)) as endpoint:
        versions.alias = "2"
        until(lambda: len(versions.told) == 2)
        assert versions.told[1] == (SWITCHED if passes else REFUSED, "2")
        assert says(endpoint) == ("two hello" if passes else "one hello")
        assert versions.engines["2"].closed is not passes


def test_the_canary_shows_its_images() -> None:
    versions = two()
    versions.canaries["1"] = Canary((Probe(picture("green"), "so", "one 12345678 so"),))
    with serving(parts(versions), ready=False) as endpoint:
        until(lambda: versions.told == [(REFUSED, "1")])
        assert len(versions.engines["1"].asked[0].said[0].pictures) == 1
        assert not endpoint.gateway.champion.ready


def test_a_version_that_was_refused_is_tried_once_until_the_alias_moves() -> None:
    versions = two()
    with serving(parts(versions)) as endpoint:
        versions.alias = "3"
        until(lambda: (REFUSED, "3") in versions.told)
        versions.engines["3"] = Echo("three")
        until(lambda: endpoint.gateway.champion.before is None)
        assert versions.opened.count("3") == 1 and says(endpoint) == "one hello"
        versions.alias = "2"
        until(lambda: (SWITCHED, "2") in versions.told)
        versions.alias = "3"
        until(lambda: (SWITCHED, "3") in versions.told)


@pytest.mark.parametrize("how", ["dies", "breaks"])
def test_a_new_model_that_fails_in_its_probation_is_taken_back_and_nobody_notices(how: str) -> None:
    versions = two()
    config = knobs(following={"poll_seconds": 0.02, "probation_seconds": 60, "probation_failures": 2})
    with serving(parts(versions, config)) as endpoint:
        versions.alias = "2"
        until(lambda: (SWITCHED, "2") in versions.told)
        if how == "dies":
            versions.engines["2"].alive = False
        versions.engines["2"].breaks = True
        assert [says(endpoint) for _ in range(4)] == ["one hello"] * 4, "the one before answers"
        until(lambda: (TAKEN_BACK, "2") in versions.told)
        assert endpoint.figure("llavaflow_switches_total", outcome="taken_back") == 1
        assert says(endpoint) == "one hello" and not versions.engines["1"].closed
        until(lambda: versions.engines["2"].closed)


def test_the_only_model_is_loaded_again_when_its_engine_ends() -> None:
    versions = two()
    config = knobs(following={"poll_seconds": 0.02, "probation_seconds": 0})
    with serving(parts(versions, config)) as endpoint:
        versions.engines["1"].alive = False
        versions.engines["1"] = Echo("one again")
        until(lambda: (RESTARTED, "1") in versions.told)
        assert says(endpoint) == "one again hello"


def test_a_registry_that_is_away_changes_nothing_and_is_counted() -> None:
    versions = two()
    with serving(parts(versions)) as endpoint:
        versions.silent = True
        until(lambda: endpoint.figure("llavaflow_registry_failures_total") > 1)
        assert says(endpoint) == "one hello"
        versions.silent, versions.alias = False, "2"
        until(lambda: (SWITCHED, "2") in versions.told)


def test_no_request_is_dropped_while_models_change() -> None:
    versions = Versions({str(number): Echo(str(number)) for number in range(1, 7)})
    failed: list[BaseException] = []
    seen: set[str] = set()
    with serving(parts(versions, knobs(following={"poll_seconds": 0.01, "probation_seconds": 0}))) as endpoint:
        stop = threading.Event()
        threads = [threading.Thread(target=_ask_on, args=(endpoint, stop, failed, seen)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for number in range(2, 7):
            versions.alias = str(number)
            until(lambda number=number: (SWITCHED, str(number)) in versions.told)
            until(lambda number=number: str(number) in seen)
        stop.set()
        for thread in threads:
            thread.join()
    assert failed == [] and {"2", "3", "4", "5", "6"} <= seen


def _ask_on(endpoint: Endpoint, stop: threading.Event, failed: list[BaseException], seen: set[str]) -> None:
    client, body = endpoint.client(), dict[str, Any](asking("a b c d", stream=True))
    while not stop.is_set():
        try:
            with suppress(StopIteration):
                words = "".join(c.choices[0].delta.content or "" for c in client.chat.completions.create(**body))
            assert words.endswith(" a b c d"), words
            seen.add(words.split()[0])
        except (openai.APIError, AssertionError) as error:
            failed.append(error)


def test_a_folder_is_a_source_that_never_moves(tmp_path: Path) -> None:
    from tasks.serve.engines import FolderSource

    source = FolderSource(tmp_path)
    asked: Callable[[], str | None] = source.pointed
    assert asked() == asked() is not None
    assert source.folder("folder") == tmp_path and source.canary("folder").probes == ()
