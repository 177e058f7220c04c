"""What every example is as a program: the options that all have, errors in one line, a clean end on Ctrl-C."""

import argparse
import os
import sys
import warnings

import plots
from tinygrad_rnn import parallel
from tinygrad_rnn.errors import DrawingError


def parser(doc, plot=None):
    """An argparse parser with --seed, --quick and, for a plot, --plot; its --help shows the example's docstring."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--seed", type=int, default=0, help="of all random numbers (%(default)s)")
    made.add_argument("--quick", action="store_true", help="a few steps only, to see that it runs")
    if plot is not None:
        made.add_argument("--plot", default=plot, metavar="FILE", help="the picture, '' for none (%(default)s)")
    return made


def parse(made, arguments=None):
    """The options; a picture that could not be written is refused now, not after the training."""
    options = made.parse_args(arguments)
    if options.seed < 0:
        raise ValueError(f"--seed is {options.seed}, expected a non-negative integer")
    if options.plot:
        plots.load()
        if os.path.splitext(options.plot)[1] not in (".svg", ".png", ".pdf"):
            raise ValueError(
                f"--plot {options.plot} is in no format that is known here: let it end in .svg, .png or .pdf"
            )
        folder = os.path.dirname(options.plot) or "."
        if not os.path.isdir(folder):
            raise FileNotFoundError(f"there is no folder {folder} to write {os.path.basename(options.plot)} into")
    return options


def run(main):
    """Call main() and leave with its exit code: 0; 2 and one line for an error; 130 after Ctrl-C; 141, quietly, where
    who reads it has gone, as head does. Warnings are a line, too. Of processes that mpiexec started, the first one prints,
    and an error on any ends all."""
    if parallel.rank():
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    warnings.showwarning = lambda message, *_: print(message, file=sys.stderr)
    try:
        code = main() or 0
        sys.stdout.flush()
    except BrokenPipeError:  # what is left to flush goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except (ValueError, OSError, ImportError, FloatingPointError, DrawingError) as error:
        parallel.fail(error)
        print(f"{os.path.basename(sys.argv[0])}: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        code = 130
    if code == 130 and not parallel.rank():
        print("interrupted", file=sys.stderr)
    sys.exit(code)
