"""The package is what the design says: layers, public names, imports, exceptions."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mtls_client
from mtls_client import errors

ROOT = Path(mtls_client.__file__).parent

LAYERS = [
    {"errors", "_os"},
    {"identity", "trust", "pins", "hosts", "events", "_formats"},
    {"_tls"},
    {"sources", "renewers"},
    {
        "_expiry",
        "_holder",
        "_issuing",
        "_kept",
        "_polling",
        "_renewal",
        "leases",
        "credential",
        "scope",
    },
    {"context"},
    {"sessions", "observers", "explanation"},
    {"doctor"},
    {"cli", "testing", "__main__"},
]
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}


def modules() -> dict[str, Path]:
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, path: Path) -> set[str]:
    """Return what a module imports from the package when it runs."""
    found = set()
    for node in running(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            module = node.module or ""
            found |= {f"{module}.{alias.name}" for alias in node.names} | {module}
    return {one for one in found if one.startswith("mtls_client.") and one in modules()}


def running(path: Path) -> list[ast.AST]:
    """Return the nodes of a module, what is imported for type checkers left out."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            node.body = []
    return list(ast.walk(tree))


def part(module: str) -> str:
    return module.split(".")[1]


def test_every_part_has_a_layer() -> None:
    parts = {part(name) for name in modules() if name != "mtls_client"}
    assert parts <= LEVEL.keys()


@pytest.mark.parametrize("name", [name for name in modules() if name != "mtls_client"])
def test_imports_point_down(name: str) -> None:
    upward = {
        one
        for one in imports(name, modules()[name])
        if part(one) != part(name) and LEVEL[part(one)] > LEVEL[part(name)]
    }
    assert upward == set()


def test_there_is_no_import_cycle() -> None:
    graph = {name: imports(name, path) - {name} for name, path in modules().items()}
    graph.pop("mtls_client")
    while leaves := {name for name, used in graph.items() if not used & graph.keys()}:
        for name in leaves:
            del graph[name]
    assert graph == {}


def test_the_layer_test_sees_an_upward_import(tmp_path: Path) -> None:
    """A control: the parser used above finds what it must find."""
    sample = tmp_path / "sample.py"
    sample.write_text("def f():\n    from mtls_client.sessions import requests\n")
    assert "mtls_client.sessions.requests" in imports("mtls_client.errors", sample)


@pytest.mark.parametrize(
    ("library", "folder"),
    [
        ("requests", "sessions"),
        ("urllib3", "sessions"),
        ("httpx", "sessions"),
        ("keyring", "sources"),
        ("click", "cli"),
        ("prometheus_client", "observers"),
        ("opentelemetry", "observers"),
    ],
)
def test_third_party_clients_are_imported_in_one_folder(library: str, folder: str) -> None:
    users = set()
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(one.split(".")[0] == library for one in names):
                users.add(part(name))
    # issuers are called over httpx, from one file
    assert users - {"cli", "renewers"} <= {folder}


def test_renewers_touch_httpx_in_one_file() -> None:
    users = {
        path.name
        for path in (ROOT / "renewers").glob("*.py")
        for node in running(path)
        if isinstance(node, ast.Import) and node.names[0].name == "httpx"
    }
    assert users == {"_http.py"}


def test_public_names_exist_and_are_sorted() -> None:
    assert sorted(mtls_client.__all__) == sorted(set(mtls_client.__all__))
    for name in mtls_client.__all__:
        assert getattr(mtls_client, name).__name__ == name
    assert set(mtls_client.__all__) <= set(dir(mtls_client))


@pytest.mark.parametrize("name", mtls_client._SUBPACKAGES)
def test_subpackages_need_no_import_of_their_own(name: str) -> None:
    code = f"import mtls_client; print(mtls_client.{name}.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"mtls_client.{name}\n"


def test_every_error_is_public() -> None:
    assert set(errors.__all__) <= set(mtls_client.__all__)


def test_the_error_tree_in_the_docstring_is_the_real_one() -> None:
    classes = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and value.__module__ == errors.__name__
    ]
    drawn = errors.__doc__ or ""
    assert [
        c.__name__ for c in classes if issubclass(c, errors.MTLSError) and c.__name__ not in drawn
    ] == []


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Sesion"):
        _ = mtls_client.Sesion  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "statement", ["import mtls_client", "from mtls_client import MTLSContext, Trust"]
)
def test_importing_loads_no_http_client_and_no_keyring(statement: str) -> None:
    heavy = "{'requests', 'httpx', 'keyring', 'click', 'rich'}"
    code = f"import sys; {statement}; print([m for m in sys.modules if m in {heavy}])"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout == "[]\n"


def test_a_session_of_one_library_does_not_load_the_other() -> None:
    code = (
        "import sys, mtls_client as m; m.Session; print('httpx' in sys.modules); "
        "m.Client; print('httpx' in sys.modules)"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout == "False\nTrue\n"


def test_files_hold_one_idea() -> None:
    long = {
        name: lines
        for name, path in modules().items()
        if (lines := sum(map(bool, path.read_text().splitlines()))) > 300
    }
    assert long == {}
