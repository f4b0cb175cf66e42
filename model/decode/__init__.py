"""Answer questions with a checkpoint: many at a time, in one running batch, with the answers of one at a time.

`answerer` is the door. `prompts` makes ids of questions, `images` decodes ahead, `forward` runs the model, `slots`
holds the keys and values of the answers under way, `engine` decides who is in the batch, `choose` picks tokens,
`likelihood` scores given answers.
"""

from model.decode.answerer import Asked, HuggingFaceAnswerer, Question
from model.decode.likelihood import Likelihood

__all__ = ["Asked", "HuggingFaceAnswerer", "Likelihood", "Question"]
