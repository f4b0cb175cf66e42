from __future__ import annotations

from configs.schema import BatchConfig, OpenAIEndpoint
from flows.generation_estimate import cost_of


def test_an_estimate_has_the_price_of_a_batch() -> None:
    endpoint = OpenAIEndpoint(kind="openai", model="m", usd_per_million_input=10.0, usd_per_million_output=30.0)
    batched = endpoint.model_copy(update={"batch": BatchConfig(discount=0.5)})
    assert cost_of(endpoint, 1e6, 1e6)["usd"] == 40.0
    assert cost_of(batched, 1e6, 1e6)["usd"] == 20.0
