"""The pictures of the examples: axes in one style, and a file that is the same whenever the numbers are.

Words stay words in the SVG, colours are those that colour-blind readers tell apart [Okabe & Ito 2008], nothing opens a window.
"""

HUES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GOOD, BAD, GREY = HUES[2], HUES[1], "#777777"
STYLE = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "figure.titlesize": 12,
    "figure.labelsize": 10,
    "font.family": "sans-serif",
    "font.size": 10,
    "image.cmap": "Blues",
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",
    "svg.hashsalt": "tinygrad_rnn",
}


def load():
    """Import Matplotlib and set STYLE for this program; ImportError that names the command where it is missing."""
    try:
        import matplotlib
    except ImportError:
        raise ImportError(
            "the picture needs matplotlib: pip install 'tinygrad_rnn[examples]' (or --plot '' for none)"
        ) from None
    matplotlib.rcParams.update({**STYLE, "axes.prop_cycle": matplotlib.cycler(color=HUES)})


def axes(title="", xlabel="", ylabel="", *, rows=1, columns=1, size=(7.0, 4.0), **options):
    """Axes to draw on, or with rows or columns an array (rows, columns) of them under one title.

    size: of the whole picture in inches; options: what Figure.subplots takes, sharex=True, width_ratios=(2, 1) …
    """
    load()
    from matplotlib.figure import Figure

    whole = Figure(figsize=size, layout="constrained")
    if rows == columns == 1:
        one = whole.subplots(**options)
        one.set(title=title, xlabel=xlabel, ylabel=ylabel)
        return one
    whole.suptitle(title)
    whole.supxlabel(xlabel)
    whole.supylabel(ylabel)
    return whole.subplots(rows, columns, squeeze=False, **options)


def save(drawn, path):
    """Write the picture that these axes (or an array of axes) are of to a file; its ending says the format: .svg, .png."""
    one = drawn if hasattr(drawn, "figure") else drawn.flat[0]
    undated = {"Date": None} if str(path).endswith(".svg") else None
    one.figure.savefig(path, dpi=110, metadata=undated)
    print(f"the picture is in {path}")
