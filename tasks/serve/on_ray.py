"""The endpoint as a Ray Serve deployment: the same app in every replica (infra/serve/ray-serve.yaml)."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ray import serve

if TYPE_CHECKING:
    from fastapi import FastAPI
    from ray.serve import Application

    from tasks.serve.app import Parts


def application(args: Mapping[str, Any]) -> Application:
    """What Ray Serve runs. `parts` names the function ("module:function") that makes the app's parts of the other
    arguments: which registry there is, is not for this package to know."""
    deployed: Any = serve.deployment(name="Endpoint")(serve.ingress()(Endpoint))
    bound: Application = deployed.bind(dict(args))
    return bound


class Endpoint:
    """A replica: it builds the app where it runs, as no engine travels between machines."""

    def __init__(self, args: Mapping[str, Any]) -> None:
        self._args = dict(args)

    def __serve_build_asgi_app__(self) -> FastAPI:
        from tasks.serve.app import build_app

        module, _, function = str(self._args["parts"]).partition(":")
        make: Callable[[Mapping[str, Any]], Parts] = getattr(importlib.import_module(module), function)
        return build_app(make(self._args))
