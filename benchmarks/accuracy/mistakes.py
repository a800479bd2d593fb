# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Describe mistakes in a file or a command, each in one plain line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

__all__ = ["ExperimentError", "explain"]


class ExperimentError(ValueError):
    """A mistake in the matrix file or on the command line that its author can correct."""


_EXPECTED = {
    "model_type": "a mapping",
    "dict_type": "a mapping",
    "string_type": "a text",
    "bool_type": "true or false",
    "float_type": "a number",
    "int_type": "whole numbers",
    "int_parsing": "whole numbers",
    "greater_than_equal": "whole numbers of at least {ge}",
}
"""What pydantic expected, in the words of a matrix file."""


def explain(error: ValidationError, model: type[BaseModel], content: Any, source: str) -> str:
    """Describe the first mistake in one line: the place, what was expected and what came.

    Args:
        error: raised by pydantic.
        model: the expected model.
        content: the content that was checked.
        source: file or option that the content is from.
    """
    first = error.errors(include_url=False)[0]
    kind, place, came = first["type"], list(first["loc"]), first["input"]
    if kind in ("extra_forbidden", "missing"):
        key = place.pop()
        there_is = _model_at(model, place).model_fields
        where = _place(source, place, content)
        if kind == "missing":
            there = ", ".join(map(str, came)) if isinstance(came, Mapping) and came else "nothing"
            return f"{where}: the key {str(key)!r} is missing; got {there}."
        return f"{where}: unknown key {str(key)!r}; expected {', '.join(there_is)}."
    if place and place[-1] == "[key]":
        place = place[:-2]
    where = _place(source, place, content)
    if kind == "literal_error":
        names = re.findall(r"'([^']*)'", first["ctx"]["expected"])
        return f"{where}: unknown name {str(came)!r}; expected one of {', '.join(names)}."
    expected = (
        "expected " + _EXPECTED[kind].format(**first.get("ctx", {}))
        if kind in _EXPECTED
        else first["msg"].removeprefix("Value error, ")
    )
    return f"{where}: {expected}, got {came!r:.100}."


def _model_at(model: type[BaseModel], place: list[Any]) -> type[BaseModel]:
    """Return the model that describes a place in the file."""
    for step in place:
        if step in model.model_fields:
            found = _models_in(model.model_fields[step].annotation)
            model = found[0] if found else model
    return model


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _place(source: str, place: list[Any], content: Any) -> str:
    """Return ``source: runs[0]: seeds``, with numbers where the file has a list of mappings."""
    text = source
    for step in place:
        content = content.get(step) if isinstance(content, Mapping) else content
        if not isinstance(step, int):
            text += f": {step}"
        elif isinstance(content, (list, tuple)):
            content = content[step]
            text += f"[{step}]" if isinstance(content, Mapping) or text == source else ""
    return text
