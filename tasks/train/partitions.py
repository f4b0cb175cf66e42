"""The optimizer's state as files that any number of ranks can read: weights in fp32 and both moments, by parameter.

Under ZeRO every rank holds a part of every group's flat tensor. Which elements of which parameter that is depends on
the number of ranks and on the ZeRO stage, so a part is written under its parameter's name and its first element. Each
rank writes what it holds and nothing is gathered; on loading, each takes the pieces that overlap with what it holds
now. With the same number of ranks every bit comes back.

Frozen parameters are not written: they are what the stage started from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tasks.errors import TrainingError
from tasks.train.checkpoints import part_name

WEIGHT = "weight"
MOMENTS = ("exp_avg", "exp_avg_sq")
"""As torch's AdamW calls them."""
RANDOM = "random"
STEP = "step"


@dataclass(frozen=True)
class Fragment:
    """Elements `start` .. `start + length` - 1 of a parameter lie at `at` in flat tensor number `group`."""

    name: str
    start: int
    length: int
    group: int
    at: int

    def within(self, flat: Tensor) -> Tensor:
        """A view of the fragment in its flat tensor, or in a moment that goes with it."""
        return flat.narrow(0, self.at, self.length)


@dataclass(frozen=True)
class Piece:
    """A fragment in a file: who holds it, under which key."""

    start: int
    length: int
    file: int
    key: str


class Partitions:
    """What this rank holds of the optimizer's state of a DeepSpeed engine (ZeRO-1, 2 or 3, AdamW)."""

    def __init__(self, engine: Any) -> None:
        self._zero = engine.optimizer
        self._partitioned = engine.zero_optimization_stage() == 3
        self._names = {id(parameter): name for name, parameter in engine.module.named_parameters()}

    def save(self, folder: Path, rank: int) -> None:
        """Write this rank's file."""
        save_file(self.snapshot(), folder / part_name(rank))

    def snapshot(self) -> dict[str, Tensor]:
        """A copy of what this rank holds, in main memory, as `save_file` takes it: steps that follow leave it be."""
        tensors: dict[str, Tensor] = {RANDOM: torch.get_rng_state()}
        for fragment in self.fragments():
            flat = self._flats[fragment.group]
            state = self._zero.optimizer.state[flat]
            tensors[STEP] = state["step"].reshape(1)
            for kind, held in ((WEIGHT, flat), *((moment, state[moment]) for moment in MOMENTS)):
                tensors[f"{kind}/{fragment.start}/{fragment.name}"] = fragment.within(held.data).cpu().clone()
        return tensors

    def load(self, files: Sequence[Path], rank: int, step: int) -> None:
        """Take over what any number of ranks saved after `step` steps. Every rank has to call it.

        `files` are those of all ranks, or the one that this rank wrote when there were as many.

        Raises TrainingError if a file cannot be read, or parts of a parameter are missing.
        """
        if self._partitioned:
            self._zero.checkpoint_event_prologue()
        for flat in self._flats:
            moments = {moment: torch.zeros_like(flat) for moment in MOMENTS}
            self._zero.optimizer.state[flat] = moments | {"step": torch.tensor(float(step), device=flat.device)}
        try:
            self._read(sorted(files), rank)
        except SafetensorError as error:
            raise TrainingError(
                f"the checkpoint in {files[0].parent} cannot be read ({error}); remove it and run again"
            ) from error
        self._refresh()

    def fragments(self) -> Iterator[Fragment]:
        """The parts of parameters that this rank holds, in the order of the flat tensors."""
        groups = self._zero.fp16_groups if self._partitioned else self._zero.bit16_groups
        for number, group in enumerate(groups):
            for parameter in group:
                found = self._of_partitioned(parameter) if self._partitioned else self._of_group(parameter, number)
                if found is not None and found.length > 0:
                    yield found

    @property
    def _flats(self) -> Sequence[Tensor]:
        """The flat tensors in fp32 that the optimizer steps."""
        found = self._zero.fp32_partitioned_groups_flat if self._partitioned else (
            self._zero.single_partition_of_fp32_groups
        )
        return found  # type: ignore[no-any-return]

    def _of_group(self, parameter: Any, group: int) -> Fragment | None:
        """ZeRO-1 and 2: the parameters of a group stand one behind the other, and the whole is cut into equal parts."""
        mapping = parameter._hp_mapping
        if mapping is None:
            return None
        here, there = mapping.lp_fragment_address, mapping.get_hp_fragment_address()
        return Fragment(self._names[id(parameter)], here.start, here.numel, group, there.start)

    def _of_partitioned(self, parameter: Any) -> Fragment:
        """ZeRO-3: each parameter is cut into equal parts, the last one padded."""
        group, at, length = self._zero.grad_position[self._zero.get_param_id(parameter)]
        start = length * torch.distributed.get_rank(self._zero.dp_process_group)
        return Fragment(self._names[id(parameter)], start, min(length, parameter.ds_numel - start), group, at)

    def _read(self, files: Sequence[Path], rank: int) -> None:
        with ExitStack() as stack:
            opened = [stack.enter_context(safe_open(file, "pt")) for file in files]
            pieces = index_of([list(file.keys()) for file in opened], [file.get_slice for file in opened])
            for fragment in self.fragments():
                flat = self._flats[fragment.group]
                state = self._zero.optimizer.state[flat]
                for kind, held in ((WEIGHT, flat), *((moment, state[moment]) for moment in MOMENTS)):
                    wanted = fragment.within(held.data)
                    for piece, take, put in overlaps(fragment, pieces.get((kind, fragment.name), [])):
                        wanted[put] = opened[piece.file].get_slice(piece.key)[take].to(wanted.device)
            for path, file in zip(files, opened, strict=True):
                if path.name == part_name(rank):
                    torch.set_rng_state(file.get_tensor(RANDOM))

    def _refresh(self) -> None:
        """Bring the weights that the model computes with in line with those in fp32."""
        if not self._partitioned:
            self._zero.update_lp_params()
            return
        for number in range(len(self._flats)):
            self._zero._reassign_or_swap_out_partitioned_parameters(number)
        self._zero.checkpoint_event_epilogue()


def index_of(keys: Sequence[Sequence[str]], slices: Sequence[Any]) -> dict[tuple[str, str], list[Piece]]:
    """Pieces by kind and parameter. `slices` look a key of a file up without reading it."""
    found: dict[tuple[str, str], list[Piece]] = {}
    for file, (names, look) in enumerate(zip(keys, slices, strict=True)):
        for key in names:
            if key in (RANDOM, STEP):
                continue
            kind, start, name = key.split("/", 2)
            piece = Piece(int(start), int(look(key).get_shape()[0]), file, key)
            found.setdefault((kind, name), []).append(piece)
    return found


def overlaps(fragment: Fragment, pieces: Sequence[Piece]) -> Iterator[tuple[Piece, slice, slice]]:
    """Which part of which piece goes where in a fragment. Raises TrainingError if they do not cover it exactly once."""
    covered = 0
    for piece in pieces:
        first = max(fragment.start, piece.start)
        last = min(fragment.start + fragment.length, piece.start + piece.length)
        if first < last:
            covered += last - first
            yield piece, slice(first - piece.start, last - piece.start), slice(
                first - fragment.start, last - fragment.start
            )
    if covered != fragment.length:
        raise TrainingError(
            f"the checkpoint holds {covered} of {fragment.length} elements of {fragment.name}: it is not whole, or of "
            "another model; remove it and run again"
        )
