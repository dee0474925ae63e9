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
# What a user typed or named, as repr writes it. An apostrophe follows a letter.
_QUOTED = r"""(?<!\w)(?:'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*")(?!\w)"""
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

    Text in quotes may be the user's own, and stays as it is.

    Parameters
    ----------
    parameters : iterable of typer's parameters
        Those of the command.
    text : str
        A message of the library.
    """
    options = {one.name: one.opts[0] for one in parameters}
    values = {
        value: options[one] for value, one in _OF_VALUES.items() if one in options
    }
    quoted: list[str] = []

    def put_aside(match: re.Match) -> str:
        if match["value"]:
            return values[match["value"]]
        quoted.append(match[0])
        return f"\0{len(quoted) - 1}\0"

    # Some values have quotes of their own: LumbarCropper(boxes="auto").
    value = "|".join(map(re.escape, values)) or "(?!)"
    ours = rf"(?P<call>\b[A-Z]\w*\()?(?P<value>{value})(?(call)\))"
    text = _reworded(options, re.sub(f"{ours}|{_QUOTED}", put_aside, text))
    return re.sub("\0(\\d+)\0", lambda match: quoted[int(match[1])], text)


def _reworded(options: dict[str, str], text: str) -> str:
    """Name options in a text without quotes."""
    text = _CLASSES.sub("", text)
    finds = options.get("auto_boxes", "tbsclassify locate")
    text = text.replace("LumbarLocalizer().transform_table", finds)
    if "weights" in options:  # the only option that takes "none"
        text = text.replace("weights=None", "--weights none")
        text = re.sub(r"(Expected weights to be .*?)\bNone\b", r'\1"none"', text)
    if "table" in options:  # in which the scans come
        text = re.sub(r"(?<=\bof )X\b|(?<=\bExpected )X\b", "the table", text)
    if "model" in options:
        text = text.replace("path to be a model file", "model to be a model file")
    if "files" in options:  # of which a user does not count the first as 0
        text = re.sub(r"\bfiles\[\d+\]", "files", text)
    known = options | {
        theirs: options[ours]
        for theirs, ours in _OTHER_NAMES.items()
        if ours in options
    }
    for name, option in known.items():
        if option.startswith("-"):
            # LumbarCropper(spacing=0.6) is --spacing 0.6.
            text = re.sub(rf"\b\w+\(({name}=[^()]*)\)", r"\1", text)
            text = re.sub(rf"\b{name}=None\b", f"no {option}", text)
            text = re.sub(rf"\b{name}=\.\.\.", option, text)
            text = re.sub(rf"\b{name}=", f"{option} ", text)
        # Names without an underscore are words of English, too.
        place = r"\b" if "_" in name else r"(?<=\bExpected )"
        text = re.sub(rf"{place}{name}\b", option, text)
    return text
