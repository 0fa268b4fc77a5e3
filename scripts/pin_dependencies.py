"""Pin every dependency to its newest compatible version: rewrites `constraint-dependencies` in pyproject.toml.

uv.lock records download addresses and is not committed; these pins give a fresh machine the tested versions all the
same. Run it, run the tests, commit the change:

    python scripts/pin_dependencies.py
"""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_BLOCK = re.compile(r"constraint-dependencies = \[\n(?:.*\n)*?\]\n")
_PINNED_BY_TORCH = re.compile(r"(nvidia|cuda|triton)\b")
_PYTHON = re.compile(r"python_full_version [<>=]+ '[\d.]+'")


def main() -> None:
    """Resolve the project without pins in a folder of its own, and write what came out."""
    pyproject = (_ROOT / "pyproject.toml").read_text()
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        (project / "pyproject.toml").write_text(_BLOCK.sub("constraint-dependencies = [\n]\n", pyproject))
        for name in ("README.md", "LICENSE", "conf", "experiments", "src"):
            source = _ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, project / name)
        command = ["uv", "export", "--quiet", "--no-hashes", "--no-annotate", "--no-header"]
        command += ["--no-emit-project", "--all-groups"]
        exported = subprocess.run(command, cwd=project, check=True, capture_output=True, text=True).stdout
    pins = []
    for line in exported.splitlines():
        pin, _, marker = line.partition(" ; ")
        if not _PINNED_BY_TORCH.match(pin):
            python = _PYTHON.search(marker)
            pins.append(f"{pin} ; {python[0]}" if python else pin)
    listed = "".join(f'    "{pin}",\n' for pin in pins)
    (_ROOT / "pyproject.toml").write_text(_BLOCK.sub(f"constraint-dependencies = [\n{listed}]\n", pyproject))


if __name__ == "__main__":
    main()
