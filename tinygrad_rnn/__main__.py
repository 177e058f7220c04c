"""Draw networks, check gradients, measure speed, and show what is installed."""

from __future__ import annotations

import argparse
import os
import sys
from types import ModuleType
from typing import NoReturn

from . import __version__
from .commands import Usage, bench, check, draw, info
from .errors import DrawingError

PROGRAM = "python -m tinygrad_rnn"
COMMANDS: dict[str, ModuleType] = {"draw": draw, "check": check, "bench": bench, "info": info}


class _Formatter(argparse.HelpFormatter):
    """Wraps each paragraph; paragraphs with indented lines, such as examples, are unchanged."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.split("\n\n")
        return "\n\n".join(
            p if "\n  " in p else super(_Formatter, self)._fill_text(p, width, indent) for p in paragraphs
        )


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; {self.prog} --help says more\n")


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    top = _Parser(prog=PROGRAM, description=__doc__)
    top.add_argument("--version", action="version", version=f"tinygrad_rnn {__version__}")
    commands = top.add_subparsers(dest="command", metavar="command")
    for name, module in COMMANDS.items():
        text = module.__doc__ or ""
        help_text = (text[0].lower() + text[1:]).split("\n")[0].rstrip(".")
        command = commands.add_parser(name, help=help_text, description=text, formatter_class=_Formatter)
        module.arguments(command)
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run a command. The exit code: 0, 1 for a failure, 2 for a wrong call, 130 after Ctrl-C."""
    top = parser()
    options = top.parse_args(arguments)
    if options.command is None:
        top.print_help(sys.stderr)
        return 2
    where = f"{PROGRAM} {options.command}"
    try:
        code: int = COMMANDS[options.command].run(options)
        if sys.stdout is not None:  # the shell's >&- closes it
            sys.stdout.flush()
    except Usage as error:
        print(f"{where}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader has closed the pipe, as head does: discard the rest of the output
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print(f"\n{where}: stopped", file=sys.stderr)
        return 130
    except (DrawingError, ImportError, OSError, ValueError) as error:
        file = getattr(error, "filename", None)
        text = f"{file}: {error.strerror}" if isinstance(error, OSError) and file else str(error)
        print(f"{where}: {' '.join(text.split())}", file=sys.stderr)
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
