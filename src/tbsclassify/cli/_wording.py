"""Messages of the library in the words of a command."""

import re
from collections.abc import Iterable
from typing import Any

# Classes of errors that a sentence stands behind. Others tell of a fault.
_CLASSES = re.compile(
    r"\b(ArithmeticError|FileNotFoundError|ImportError|ModelFileError|OSError"
    r"|PermissionError|TypeError|UnreadableScanError|ValueError): "
)
# Options that stand for a value of an argument.
_OF_VALUES = {
    'boxes="auto"': "auto_boxes",
    'on_bad_rows="warn"': "skip_bad_rows",
    "resume=False": "restart",
}
# What a command calls an argument that the library knows under another name.
_OTHER_NAMES = {
    "bit_depth": "bits",
    "cv": "folds",
    "image_dir": "images",
    "n_patients": "patients",
    "n_splits": "folds",
    "n_trials": "trials",
    "random_state": "seed",
}


def in_words_of(parameters: Iterable[Any], text: str) -> str:
    """Name the options of a command in place of arguments, and no class of error.

    Parameters
    ----------
    parameters : iterable of typer's parameters
        Those of the command.
    text : str
        A message of the library.
    """
    options = {one.name: one.opts[0] for one in parameters}
    text = _CLASSES.sub("", text)
    text = text.replace("LumbarLocalizer().transform_table", "tbsclassify locate")
    for value, name in _OF_VALUES.items():
        if name in options:
            call = rf"\b[A-Z]\w*\({value}\)"  # LumbarCropper(boxes="auto")
            text = re.sub(f"{call}|{value}", options[name], text)
    if "weights" in options:  # the only option that takes "none"
        text = text.replace("weights=None", "--weights none")
    if "table" in options:  # in which the scans come
        text = re.sub(r"(?<=\bof )X\b|(?<=\bExpected )X\b", "the table", text)
    known = options | {
        theirs: options[ours]
        for theirs, ours in _OTHER_NAMES.items()
        if ours in options
    }
    for name, option in known.items():
        if option.startswith("-"):
            # LumbarCropper(spacing=0.6) is --spacing 0.6.
            text = re.sub(rf"\b[A-Z]\w*\(({name}=[^()]*)\)", r"\1", text)
            text = re.sub(rf"\b{name}=None\b", f"no {option}", text)
            text = re.sub(rf"\b{name}=\.\.\.", option, text)
            text = re.sub(rf"\b{name}=", f"{option} ", text)
        # Names without an underscore are words of English, too.
        place = r"\b" if "_" in name else r"(?<=\bExpected )"
        text = re.sub(rf"{place}{name}\b", option, text)
    return text
