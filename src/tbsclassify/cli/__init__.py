"""The command line ``tbsclassify``. Each command calls the library."""

from tbsclassify.cli._app import Command, app
from tbsclassify.cli._archive import locate, predict
from tbsclassify.cli._data import demo, phantoms
from tbsclassify.cli._models import compare, evaluate, info, train, tune

__all__ = ["app", "main"]

# In the order of `tbsclassify --help`.
for _command in (demo, phantoms, train, evaluate, predict, locate, compare, tune, info):
    app.command(cls=Command, no_args_is_help=_command is not demo)(_command)


def main() -> None:
    """Run the command that the arguments of the program name."""
    app(prog_name="tbsclassify")
