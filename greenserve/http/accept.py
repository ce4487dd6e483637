"""What a client accepts, and how gladly: lists of values with weights (RFC 9110 §12.4, §12.5). Pure."""

from __future__ import annotations

import re
from functools import lru_cache

# weight = OWS ";" OWS "q=" qvalue                                                             RFC 9110 §12.4.2
# qvalue = ( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] )
_WEIGHT = re.compile(r"[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")
_MEMBER_COUNT = 64  # the rest is not looked at: no client knows as many
_PARAMETER_COUNT = 8  # of a member
_KEPT_LENGTH = 256  # characters of a field whose meaning is kept


def weights(value: str) -> dict[str, float]:
    """Each value of the list, in lower case, with its weight from 0 to 1. A member with a wrong weight is left out."""
    found: dict[str, float] = {}
    for member in value.lower().split(",", _MEMBER_COUNT)[:_MEMBER_COUNT]:
        name, *parameters = (part.strip(" \t") for part in member.split(";", _PARAMETER_COUNT))
        if not name:
            continue
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                match = _WEIGHT.fullmatch(parameter)
                weight = float(match[1]) if match is not None else -1.0
        if weight >= 0:
            found.setdefault(name, weight)
    return found


def accepted_codings(value: str | None, known: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the content codings that a client accepts, the best first; `known` has them as we prefer them, among
    them "identity". Empty when it accepts none (RFC 9110 §12.5.3). value: of Accept-Encoding, None when there is none.
    """
    if value is None:
        return ("identity",)  # any would be allowed, but such a client knows none
    return _accepted_kept(value, known) if len(value) <= _KEPT_LENGTH else _accepted(value, known)


def _accepted(value: str, known: tuple[str, ...]) -> tuple[str, ...]:
    given = weights(value)
    others = given.get("*")

    def weight(coding: str) -> float:
        found = given.get(coding, others)
        if found is None:
            return 0.0005 if coding == "identity" else 0.0  # acceptable unless it is excluded, and after all others
        return found

    return tuple(sorted((coding for coding in known if weight(coding) > 0), key=weight, reverse=True))


_accepted_kept = lru_cache(maxsize=256)(_accepted)
