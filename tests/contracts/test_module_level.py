"""Nothing happens at import: a module's top level holds definitions, constants and declarations, no actions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGES = ("flows", "tasks", "model", "configs")
DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
EXECUTED = {"tasks/register/pyfunc_model.py"}
"""Files that are run, never imported: MLflow executes a model's code to make the model."""
ACTIONS = {
    "basicConfig", "connect", "exec", "from_pretrained", "init", "input", "makedirs", "manual_seed", "mkdir", "open",
    "popen", "print", "read_bytes", "read_text", "run", "seed", "set_tracking_uri", "setdefault", "setLevel", "system",
    "write_bytes", "write_text",
}  # fmt: skip
"""Calls that read, write, print or set something; a constant's value must need none of them."""


def actions(source: str) -> list[str]:
    """What of a module's top level is more than a definition, one phrase each."""
    return [phrase for node in ast.parse(source).body for phrase in _actions_of(node)]


def _actions_of(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, DEFINITIONS) or _is_docstring(node):
        return
    if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "__name__ == '__main__'"}:
        return
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(not isinstance(target, ast.Name | ast.Tuple) for target in targets):
            yield f"line {node.lineno}: sets {ast.unparse(targets[0])}"
        yield from _calls_of(node)
    elif not _is_declaration(node):
        yield f"line {node.lineno}: {ast.unparse(node).splitlines()[0]}"


def _calls_of(node: ast.stmt) -> Iterator[str]:
    for call in (inner for inner in ast.walk(node) if isinstance(inner, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if name in ACTIONS:
            yield f"line {call.lineno}: calls {ast.unparse(call.func)}"


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_declaration(node: ast.stmt) -> bool:
    """`app.add_typer(...)` and `app.command(...)(function)`: how typer is told of commands."""
    call = node.value if isinstance(node, ast.Expr) else None
    while isinstance(call, ast.Call):
        if isinstance(call.func, ast.Attribute) and call.func.attr in {"add_typer", "command"}:
            return True
        call = call.func
    return False


def _sources(project: Path) -> list[Path]:
    paths = sorted(path for package in PACKAGES for path in (project / package).rglob("*.py"))
    return [path for path in paths if str(path.relative_to(project)) not in EXECUTED]


def test_no_module_acts_when_it_is_imported(project: Path) -> None:
    found = {str(path.relative_to(project)): actions(path.read_text(encoding="utf-8")) for path in _sources(project)}
    assert {path: phrases for path, phrases in found.items() if phrases} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import os\nos.environ['A'] = '1'",
        "import os\nos.environ.setdefault('A', '1')",
        "print('hello')",
        "from pathlib import Path\nTEXT = Path('a').read_text()",
        "for number in range(3):\n    pass",
        "with open('a') as f:\n    pass",
        "try:\n    import torch\nexcept ImportError:\n    torch = None",
    ],
)
def test_actions_are_seen(source: str) -> None:
    assert len(actions(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        '"""What it is for."""\nA = 3\n"""Why."""\nB: dict[str, int] = dict(a=1)',
        "import typer\napp = typer.Typer()\napp.command('run')(print)\napp.add_typer(app, name='x')",
        "if __name__ == '__main__':\n    print(1)",
        "def run() -> None:\n    print(1)",
    ],
)
def test_definitions_are_no_actions(source: str) -> None:
    assert actions(source) == []
