"""Memory that a stage of training takes on one device, worked out from shapes. Pure arithmetic: no torch.

What is counted is what torch allocates. Not counted: libraries, the device's context (about 1 GB on a GPU) and what the
allocator keeps for later; `ROOM` is left for these where a row budget is chosen.

A step has three tides, and the highest counts. At the end of a row's forward pass all that autograd keeps is there,
and the logits. At the end of its backward pass the gradients are, and DeepSpeed's bucket for them. When the optimizer
steps, its part of the gradients is there in the model's precision, flattened, and in fp32. Checked against torch's
allocator by tests/integration/test_memory.py; figures in docs/benchmarks.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from model.flops import AdapterShape, LanguageShape, Tower

GB = 1e9
REDUCE_BUCKET = 500_000_000
"""Elements of DeepSpeed's bucket where its file does not say."""
LIVE_PARAMETERS = 1_000_000_000
"""The same for the parameters that ZeRO-3 keeps gathered."""
CHUNK = 1024
"""Supervised positions whose scores are there at a time (model/loss.py)."""
PADDING = 1.1
"""Of samples of like length that share an attention call (model/packed.py): mean over rows as in LLaVA-Instruct."""
ROOM = 0.9
"""Share of a device's memory that a row budget may fill by this estimate."""
SMALLEST, LARGEST, GRAIN = 256, 16_384, 256
"""Row budgets that are tried, in tokens. Longer rows are no faster."""


@dataclass(frozen=True)
class Setup:
    """How a stage is trained. `bytes` a number of the model's precision: 2 (bf16) or 4 (fp32)."""

    bytes: int
    zero: int
    ranks: int
    language_trains: bool
    """Its own weights: not where it has adapters."""
    trained: float
    """Parameters that train."""
    adapters: AdapterShape | None = None
    bucket: float = REDUCE_BUCKET
    overlap: bool = False
    live: float = LIVE_PARAMETERS
    offload_optimizer: bool = False
    offload_parameters: bool = False
    on_cpu: bool = False


@dataclass(frozen=True)
class RowLoad:
    """A packed row: its tokens, how many are supervised, its images."""

    tokens: float
    supervised: float
    images: float


@dataclass(frozen=True)
class Memory:
    """Bytes on one device. The first four are always there; of the others the highest tide counts."""

    weights: float
    masters: float
    """In fp32."""
    moments: float
    """Both of Adam's."""
    buffers: float
    """ZeRO-3 keeps its part of the gradients, and the bucket for them, from step to step."""
    activations: float
    logits: float
    gradients: float
    """Gradients, and buckets for them, at the end of a backward pass or in the optimizer's step."""

    @property
    def rest(self) -> float:
        """Between steps."""
        return self.weights + self.masters + self.moments + self.buffers

    @property
    def peak(self) -> float:
        """At the highest tide of a step."""
        return self.rest + max(self.activations + self.logits, self.gradients)

    def words(self) -> str:
        """One line: the peak, and its parts."""
        unit, name = (GB, "GB") if self.peak >= GB else (GB / 1000, "MB")
        sizes = {field.name: getattr(self, field.name) / unit for field in fields(self)}
        parts = ", ".join(f"{part} {size:,.1f}" for part, size in sizes.items() if size >= 0.05)
        return f"{self.peak / unit:,.1f} {name} ({parts})"


def setup_of(
    deepspeed: Mapping[str, Any], *, precision: str, ranks: int, language_trains: bool, trained: float, on_cpu: bool,
    adapters: AdapterShape | None = None,
) -> Setup:
    """The setup of a stage, from the file that DeepSpeed is given. `trained` parameters: those of adapters, too."""
    zero: Mapping[str, Any] = deepspeed.get("zero_optimization", {})
    stage = int(zero.get("stage", 0))

    def offloaded(what: str) -> bool:
        return str((zero.get(what) or {}).get("device", "none")) != "none"

    return Setup(
        bytes=2 if precision == "bf16" else 4,
        zero=stage,
        ranks=ranks,
        language_trains=language_trains and adapters is None,
        trained=trained,
        adapters=adapters,
        bucket=min(float(zero.get("reduce_bucket_size", REDUCE_BUCKET)), trained),
        overlap=bool(zero.get("overlap_comm", stage == 3)),
        live=float(zero.get("stage3_max_live_parameters", LIVE_PARAMETERS)),
        offload_optimizer=offloaded("offload_optimizer"),
        offload_parameters=offloaded("offload_param"),
        on_cpu=on_cpu,
    )


def trained_parameters(
    language: LanguageShape, vision: Tower, *, language_trains: bool, adapters: AdapterShape | None = None
) -> float:
    """What a stage trains: the projector, and the language model or its adapters."""
    own = language.parameters if adapters is None else adapters.parameters(language)
    return projector_parameters(language, vision) + (own if language_trains else 0.0)


def projector_parameters(language: LanguageShape, vision: Tower) -> float:
    """Of the two-layer projector; a linear one is stored as that, too."""
    return (vision.hidden + 1 + language.hidden + 1) * language.hidden


def memory_of(language: LanguageShape, vision: Tower, setup: Setup, row: RowLoad) -> Memory:
    """What a stage takes on one device with rows of that kind."""
    total = language.parameters + vision.parameters + projector_parameters(language, vision)
    total += setup.adapters.parameters(language) if setup.adapters else 0.0
    parts = setup.ranks if setup.zero else 1
    held = setup.trained / parts
    tower = row.images * vision.states * setup.bytes
    before = {0: setup.trained, 1: setup.trained, 2: held}.get(setup.zero, 0.0)  # gradients of rows before this one
    kept = _kept(language, setup, row) + before * setup.bytes
    return Memory(
        weights=_weights(total, setup),
        masters=0.0 if setup.offload_optimizer else 4 * held,
        moments=0.0 if setup.offload_optimizer else 8 * held,
        buffers=(held + setup.bucket) * setup.bytes if setup.zero == 3 else 0.0,
        activations=max(kept, tower),
        logits=_logits(language, setup, row),
        gradients=max(_backward(setup, parts), _stepping(setup, held)),
    )


def _weights(total: float, setup: Setup) -> float:
    """ZeRO-3 holds a part, and whole layers while they are needed."""
    if setup.zero < 3:
        return total * setup.bytes
    held = 0.0 if setup.offload_parameters else total / setup.ranks
    gathered = min(setup.live, total) if setup.ranks > 1 or setup.offload_parameters else 0.0
    return (held + gathered) * setup.bytes


def _kept(language: LanguageShape, setup: Setup, row: RowLoad) -> float:
    """Bytes that autograd keeps of a row: of model/pieces.py and attention.py on CPU, else of transformers' Llama.

    A linear layer keeps its input where its own weights train.
    """
    hidden, size = language.hidden, setup.bytes
    of_layer = _kept_on_cpu if setup.on_cpu else _kept_on_gpu
    layer = of_layer(language, setup) + _inputs(language, setup)
    edges = (3 * hidden * row.tokens + 2 * hidden * row.supervised) * size
    return row.tokens * language.layers * layer + edges


def _inputs(language: LanguageShape, setup: Setup) -> float:
    """Bytes a token and layer of what linear layers keep to train by: their inputs, once where they share one.

    An adapter with dropout keeps an input of its own, and which numbers of it were dropped; and what is between its
    factors.
    """
    shared = (3 * language.hidden + language.intermediate) * setup.bytes
    if setup.adapters is None:
        return shared if setup.language_trains else 0.0
    linears = setup.adapters.linears(language)
    between = len(linears) * setup.adapters.rank * setup.bytes
    if not setup.adapters.dropout:
        return shared + between
    dropped = setup.bytes if setup.on_cpu else 1  # torch's fused dropout keeps a byte, its plain one the factors
    return sum(given for given, _ in linears.values()) * (setup.bytes + dropped) + between


def _kept_on_cpu(language: LanguageShape, setup: Setup) -> float:
    """Bytes a token and layer: inputs of both norms, gate and up, and queries, keys and values by groups of samples."""
    norms = 2 * (language.hidden * setup.bytes + 4)
    gates = 2 * setup.bytes * language.intermediate
    return norms + gates + PADDING * (1 + 2 * language.key_value_share) * setup.bytes * language.hidden


def _kept_on_gpu(language: LanguageShape, setup: Setup) -> float:
    """Bytes a token and layer: norms in fp32, gate, its activation and up, and what fused attention keeps."""
    hidden, size = language.hidden, setup.bytes
    norms = 2 * 4 * hidden + (size * hidden if setup.language_trains else 0)
    gates = 3 * size * language.intermediate
    shared = 2 * language.key_value_share
    return norms + gates + PADDING * ((2 + shared) * size * hidden + 4 * language.heads)


def _logits(language: LanguageShape, setup: Setup, row: RowLoad) -> float:
    """Bytes of the loss (model/loss.py): a part's scores, or the head's gradient, twice while it is scaled."""
    # Scores as the head gives them, in fp32 before their logarithm is taken (fused on a GPU), and after.
    scores = setup.bytes + 4 + (4 if setup.on_cpu and setup.bytes != 4 else 0)
    part = min(row.supervised, CHUNK) * language.vocabulary * scores
    head = language.vocabulary * language.hidden * setup.bytes if setup.language_trains else 0.0
    return max(part + (head if row.supervised > CHUNK else 0.0), 2 * head)


def _backward(setup: Setup, parts: int) -> float:
    """Gradients at the end of a backward pass: ZeRO-1 keeps all, the others what the bucket and their part take."""
    bucket = setup.bucket * (2 if setup.overlap else 1)
    if setup.zero < 2:
        return setup.trained * setup.bytes + bucket * 4
    if setup.zero == 3:
        return setup.bucket * setup.bytes
    return (bucket + min(setup.bucket, setup.trained) + (setup.trained / parts if parts > 1 else 0)) * setup.bytes


def _stepping(setup: Setup, held: float) -> float:
    """This rank's gradients, flattened (ZeRO-3: they are), and once more in fp32 where they are not."""
    flat = 1 if setup.zero == 3 or setup.offload_optimizer else 2
    return held * (flat * setup.bytes + (4 if setup.bytes != 4 and not setup.offload_optimizer else 0))


def row_budget(language: LanguageShape, vision: Tower, setup: Setup, load: RowLoad, device: float) -> int | None:
    """The most tokens of a row that a device of so many bytes takes; None if it does not take the smallest row.

    `load` is a mean sample; a row holds as many of them as fit.
    """
    for tokens in range(LARGEST, SMALLEST - 1, -GRAIN):
        if memory_of(language, vision, setup, row_of(load, tokens)).peak <= ROOM * device:
            return tokens
    return None


def row_of(sample: RowLoad, tokens: int) -> RowLoad:
    """A row of so many tokens, filled with mean samples."""
    share = tokens / sample.tokens
    return RowLoad(tokens, share * sample.supervised, share * sample.images)
