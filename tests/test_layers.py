"""The house: imports only point down, files stay readable, nothing heavy at `import fastequi`."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

#: Who stands on which floor; a module may import from lower floors and from its own package.
FLOORS = [
    {"fastequi._version", "fastequi.errors", "fastequi.units", "fastequi.irreps"},
    {"fastequi.device", "fastequi.process", "fastequi.storage"},
    {"fastequi.plotting"},
    {"fastequi.graph", "fastequi.settings_problems"},
    {"fastequi.potential", "fastequi.settings"},
    {"fastequi.kernels", "fastequi.conservation"},
    {"fastequi.model", "fastequi.md"},
    {"fastequi.engine", "fastequi.data"},
    {"fastequi.dispersion"},
    {"fastequi.importers"},
    {"fastequi.calculators", "fastequi.integrations", "fastequi.training", "fastequi.limits"},
    {"fastequi.running"},
    {"fastequi.run", "fastequi.properties"},
    {"fastequi.cli", "fastequi.examples"},
]
#: Same floor, yet strangers: the engine runs any potential.
FORBIDDEN = {
    ("fastequi.md", "fastequi.model"), ("fastequi.model", "fastequi.md"),
    ("fastequi.engine", "fastequi.md"), ("fastequi.engine", "fastequi.data"),
    ("fastequi.data", "fastequi.engine"),
}  # fmt: skip


def modules() -> dict[str, Path]:
    """Every module of the package by the name it is imported under."""
    found = {}
    for folder, prefix in (("fastequi", ""), ("kernels", "fastequi."), ("md", "fastequi.")):
        for path in (ROOT / folder).rglob("*.py"):
            if "fastequi/kernels" in path.as_posix() or "fastequi/md" in path.as_posix():
                continue  # the links
            parts = path.relative_to(ROOT).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            found[prefix + ".".join(parts)] = path
    return found


def floor_of(module: str) -> tuple[int, str] | None:
    for level, names in enumerate(FLOORS):
        for name in names:
            if module == name or module.startswith(name + "."):
                return level, name
    return None


def imports_of(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.append(node.module)
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return [name for name in found if name.split(".")[0] == "fastequi"]


def test_imports_only_point_down():
    climbing = []
    for module, path in modules().items():
        if module == "fastequi":
            continue  # its names are looked up when first used
        here = floor_of(module)
        assert here is not None, f"{module} has no floor: add it to FLOORS"
        for imported in imports_of(path):
            there = floor_of(imported)
            if there is None or there[1] == here[1]:
                continue
            if there[0] > here[0] or (here[1], there[1]) in FORBIDDEN:
                climbing.append(f"{module} imports {imported}")
    assert not climbing, climbing


def test_files_stay_readable():
    too_long = {
        name: lines
        for name, path in modules().items()
        if (lines := len(path.read_text().splitlines())) > 500
    }
    assert not too_long


def test_import_is_light():
    """No torch, no Triton, no ASE before they are needed."""
    code = (
        "import sys, fastequi; print(sorted({'torch', 'triton', 'ase', 'e3nn'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_running_needs_no_triton():
    code = "import sys, fastequi.run, fastequi.importers; print('triton' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_bare_names_are_refused():
    for name in ("kernels", "md"):
        code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {name}"
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert f"import fastequi.{name}, not {name}" in out.stderr
