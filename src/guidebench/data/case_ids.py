"""Names of cases, fit for file names and random streams: lower case, short, and never two alike."""

import hashlib
import re

_LONGEST = 60
_PLAIN = re.compile(r"[a-z0-9]+(?:[ /-][a-z0-9]+)*")


def case_id(name: str) -> str:
    """The name in the letters of case ids; equal for equal names, and different for different ones.

    A space becomes `_` and a slash `.`. A name with other signs, or a long one, loses them and gets eight digits of
    its SHA-256, so that neither two names with one slug nor two names in another script share noise.

    Args:
        name: any text, such as a class or a file.
    """
    if _PLAIN.fullmatch(name) and len(name) <= _LONGEST:
        return name.translate(str.maketrans(" /", "_."))
    return f"{slug(name) or 'case'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def slug(name: str) -> str:
    """What of a name can be read in a case id: its Latin letters and digits, at most 60; names may share it."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower())[:_LONGEST].strip("-")
