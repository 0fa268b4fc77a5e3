"""Code that results depend on does not change unnoticed: `scripts/record_code.py` and its record."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import record_code


def test_nothing_changed_that_was_not_decided_on() -> None:
    recorded = json.loads(record_code.FILE.read_text())
    current = record_code.current()
    told = record_code.complaint(recorded, current)
    assert not told, told
    assert current == recorded, "run `python scripts/record_code.py`"


FILES = {
    "base.py": '''
        class Base:
            """What all share."""
            def shared(self):
                return 1
    ''',
    "helper.py": """
        FACTOR = 2
        def scaled(x):
            return FACTOR * x
        def unused():
            return 0
    """,
    "parts.py": '''
        from dataclasses import dataclass
        from guidebench.base import Base
        from guidebench import helper
        @dataclass
        class Part(Base):
            """A part.

            Args:
                scale: a number.
            """
            scale: float = 1.0
            def act(self, x: int) -> int:
                if x < 0:
                    raise ValueError("x is negative")
                return helper.scaled(x) + self.shared()  # a comment
        def neighbour():
            return 5
    ''',
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of its own with one component, which the script looks at instead."""
    root = tmp_path / "src" / "guidebench"
    root.mkdir(parents=True)
    for name, text in FILES.items():
        (root / name).write_text("\n".join(line[8:] for line in text.splitlines()))
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "part.yaml").write_text("nested: [{_target_: guidebench.parts.Part}]")
    monkeypatch.setattr(record_code, "ROOT", tmp_path)
    return root


def record() -> record_code.Record:
    for cached in (record_code.reached, record_code._uses, record_code._module):
        cached.cache_clear()
    return record_code.current()


def change(package: Path, file: str, old: str, new: str) -> None:
    text = (package / file).read_text()
    assert old in text
    (package / file).write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("parts.py", '"""A part.', '"""Another text.'),
        ("parts.py", "  # a comment", ""),
        ("parts.py", "x: int) -> int", "x)"),
        ("parts.py", "x is negative", "x must not be negative"),
        (
            "parts.py",
            "return helper.scaled(x) + self.shared()",
            "return (helper.scaled(x)\n            + self.shared())",
        ),
        ("parts.py", "return 5", "return 6"),
        ("helper.py", "return 0", "return 1"),
    ],
)
def test_what_changes_no_result_is_not_asked_about(package: Path, file: str, old: str, new: str) -> None:
    before = record()
    change(package, file, old, new)
    assert record() == before


@pytest.mark.parametrize(
    ("file", "old", "new", "named"),
    [
        ("parts.py", "x < 0", "x < 1", "parts.Part"),
        ("parts.py", "scale: float = 1.0", "scale: float = 2.0", "parts.Part"),
        ("base.py", "return 1", "return 2", "base.Base"),
        ("helper.py", "FACTOR = 2", "FACTOR = 3", "helper.FACTOR"),
        ("helper.py", "FACTOR * x", "FACTOR + x", "helper.scaled"),
    ],
)
def test_changed_code_is_asked_about_until_a_revision_is_raised(
    package: Path, file: str, old: str, new: str, named: str
) -> None:
    before = record()
    change(package, file, old, new)
    told = record_code.complaint(before, record())
    assert "guidebench.parts.Part (revision 1)" in told and f"guidebench.{named}" in told
    assert "--samples-unchanged" in told
    change(package, "base.py", "    def shared", "    revision = 2\n    def shared")
    assert record_code.complaint(before, record()) == ""
