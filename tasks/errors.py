"""The exception tree.

    LlavaflowError                 anything this project raises on purpose; the message is one line for a user
    |-- ConfigError                an experiment that does not exist, validate, or agree with itself (configs.errors)
    |-- ModelError                 parts that do not fit: tokenizer, template, tower, projector, weights (model.errors)
    |-- EnvironmentProblem         the machine lacks something: disk, memory, a port, a compiler, a server
    |-- DataError                  input that cannot be used at all (single bad records go to quarantine instead)
    |   `-- TooMuchBadInput        the share of quarantined records passed its limit
    |-- ArtifactError              a cached artifact is missing, half written or altered
    |-- EndpointError              a teacher or judge endpoint failed for good
    |   |-- EndpointRejected       it refuses us: wrong key, unknown model; never worth a retry
    |   |-- BudgetExhausted        the money limit of the experiment is reached
    |   `-- BatchesUnderWay        batches were sent and are not waited for any longer; a later run comes back to them
    |-- TrainingError              training cannot go on
    |   |-- NonFiniteLoss          a loss or gradient was not finite; the optimizer did not step
    |   |-- OutOfMemory            a row did not fit; the row budget is halved and the workers start anew
    |   `-- TrainingStopped        the workers were told to leave, and kept where they were
    |-- ScoringError               predictions or reviews that cannot be scored as they stand
    `-- RegistryError              the model registry refused, or is not in the state that was expected

Every message names what is wrong and the remedy. Programming mistakes stay AssertionError or the built-in types.
"""

from __future__ import annotations

from configs.errors import ConfigError as ConfigError
from configs.errors import LlavaflowError as LlavaflowError
from model.errors import ModelError as ModelError


class EnvironmentProblem(LlavaflowError):
    """The machine or a service it needs is not as required."""


class DataError(LlavaflowError):
    """Input data cannot be used."""


class TooMuchBadInput(DataError):
    """More records were quarantined than the experiment allows."""


class ArtifactError(LlavaflowError):
    """An artifact is missing, incomplete or altered."""


class EndpointError(LlavaflowError):
    """An OpenAI-compatible endpoint failed for good."""


class EndpointRejected(EndpointError):
    """The endpoint refuses the request for a reason that no retry cures."""


class BudgetExhausted(EndpointError):
    """The experiment's money limit is reached; what was paid for is kept."""


class BatchesUnderWay(EndpointError):
    """Batches are with the endpoint and their answers not there yet; the same command comes back to them."""


class TrainingError(LlavaflowError):
    """Training cannot go on."""


class NonFiniteLoss(TrainingError):
    """A loss or gradient norm was not finite; weights are those of the step before."""


class TrainingStopped(TrainingError):
    """The workers were told to leave; the same command goes on from the step they kept."""


class OutOfMemory(TrainingError):
    """A row did not fit into a worker's memory. The halved budget is written down; the workers are to start anew."""


class ScoringError(LlavaflowError):
    """A file of predictions or reviews cannot be scored as it stands."""


class RegistryError(LlavaflowError):
    """The model registry refused, or was not in the expected state."""
