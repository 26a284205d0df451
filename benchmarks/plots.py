"""The plots, as SVG. Colours are Okabe and Ito's, which everyone can distinguish."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from .stats import TIMES, TO

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from .stats import Spread

BLUE: Final = "#0072B2"
ORANGE: Final = "#D55E00"
GREY: Final = "#666666"
COLOURS: Final = (BLUE, ORANGE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS: Final = "osD^vPX"
_STYLE: Final[dict[Any, Any]] = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "legend.frameon": False,
    "svg.hashsalt": "benchmarks",  # the same figures give the same file
}


@contextmanager
def _drawing(path: Path, width: float, height: float, panels: int = 1) -> Iterator[list[Axes]]:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), facecolor="white")
        yield list(figure.subplots(1, panels, squeeze=False)[0])
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def request_cost(path: Path, title: str, lines: Sequence[tuple[str, Spread]]) -> None:
    """Draw ratios as dots with their p10-p90, one line for each contender."""
    with _drawing(path, 8, 0.9 + 0.38 * len(lines)) as (axes,):
        for place, (name, spread) in enumerate(reversed(lines)):
            colour = BLUE if "this client" in name else GREY
            axes.plot([spread.low, spread.high], [place, place], color=colour, linewidth=2)
            axes.plot(spread.median, place, "o", color=colour)
            axes.annotate(
                f"{spread.median:.2f}",
                (spread.high, place),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                color=colour,
            )
        axes.axvline(1, color=GREY, linewidth=0.8, linestyle=":")
        axes.set_xscale("log")
        low = min(spread.low for _, spread in lines)
        high = max(spread.high for _, spread in lines)
        ticks = [
            tick
            for tick in (0.25, 0.5, 1, 1.5, 2, 3, 5, 10, 20, 40)
            if low / 1.5 < tick < high * 1.5
        ]
        axes.set_xticks(ticks, [f"{tick:g}{TIMES}" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlim(low / 1.2, high * 1.5)
        axes.set_yticks(range(len(lines)), [name for name, _ in reversed(lines)])
        axes.set_ylim(-0.6, len(lines) - 0.4)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_title(title)
        axes.set_xlabel(f"ratio of CPU time, median and p10{TO}p90 of rounds (log scale)")


def lateness(
    path: Path, title: str, panels: Sequence[tuple[str, Sequence[tuple[str, float, float, float]]]]
) -> None:
    """Draw mean, p95 and worst lateness of each contender, one panel for each scenario."""
    figures = (("mean", "o", BLUE), ("p95", "s", "#E69F00"), ("worst", "D", ORANGE))
    names = [line[0] for line in panels[0][1]]
    with _drawing(path, 10, 0.6 + 0.42 * len(names) + 0.5, len(panels)) as all_axes:
        for axes, (name, lines) in zip(all_axes, panels, strict=True):
            for place, (_, *values) in enumerate(reversed(lines)):
                axes.plot([values[0], values[-1]], [place, place], color="#CCCCCC", zorder=1)
                for value, (label, marker, colour) in zip(values, figures, strict=True):
                    axes.plot(value, place, marker, color=colour, label="" if place else label)
            axes.set_yticks(range(len(names)), reversed(names) if axes is all_axes[0] else [])
            axes.set_ylim(-0.6, len(names) - 0.4)
            axes.tick_params(axis="y", length=0)
            axes.spines["left"].set_visible(False)
            axes.set_xlim(0)
            axes.set_title(name, fontsize=10)
            axes.set_xlabel("lateness, s")
        figure = all_axes[0].figure
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        handles, labels = all_axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=len(labels))


def curves(path: Path, lines: dict[str, list[tuple[float, float, float]]]) -> None:
    """Draw mean lateness over requests; each point is (scale of the intervals, requests, mean)."""
    with _drawing(path, 7.5, 5) as (axes,):
        for (name, points), colour, marker in zip(
            lines.items(), COLOURS[: len(lines)], MARKERS[: len(lines)], strict=True
        ):
            axes.plot(
                [requests for _, requests, _ in points],
                [mean for _, _, mean in points],
                color=colour,
                linewidth=1.2,
                marker=marker,
                markersize=3.5,
            )
            axes.plot(
                *next([(requests,), (mean,)] for scale, requests, mean in points if scale == 1),
                marker,
                color=colour,
                markersize=10,
                label=name,
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter("{x:g}")
        axes.minorticks_off()
        axes.grid(color="#E5E5E5", linewidth=0.6)
        axes.legend(
            title="large: as it comes\nsmall: intervals scaled", alignment="left", loc="lower left"
        )
        axes.set_title("What knowing sooner costs, without a budget")
        axes.set_xlabel("requests for one rental (log scale)")
        axes.set_ylabel("mean lateness, s (log scale)")


def many_waits(
    path: Path,
    lags: Sequence[tuple[int, float, float, float]],
    memory: Sequence[tuple[int, float]],
    bare: float | None,
) -> None:
    """Draw lag (waits, p50, p99, longest) and memory (waits, bytes) over the number of waits.

    `bare` is the memory of one bare loop, in bytes.
    """
    counts = [waits for waits, *_ in lags]
    with _drawing(path, 10, 3.6, 2) as (left, right):
        each = [size / 1024 for _, size in memory]
        left.plot([waits for waits, _ in memory], each, "o-", color=BLUE, label="measured")
        if bare is not None:
            left.axhline(bare / 1024, color=GREY, linewidth=1, linestyle=":", label="bare loop")
        left.set_ylim(0, max([(bare or 0.0) / 1024, *each]) * 1.2)
        left.set_title("Memory for one wait")
        left.set_ylabel("KiB")
        left.legend(loc="lower left")
        for place, (label, marker, colour) in enumerate(
            (("p50", "o", BLUE), ("p99", "s", "#E69F00"), ("longest", "D", ORANGE)), start=1
        ):
            values = [lag[place] * 1000 for lag in lags]
            right.plot(counts, values, marker + "-", color=colour, label=label)
        right.axhline(50, color=GREY, linewidth=1, linestyle=":", label="promised\nfor p99")
        right.set_yscale("log")
        right.set_title("Lag of a 10 ms tick on the same loop")
        right.set_ylabel("ms (log scale)")
        right.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        right.yaxis.set_major_formatter("{x:g}")
        right.legend(loc="upper left", bbox_to_anchor=(1, 1))
        for axes in (left, right):
            axes.set_xscale("log")
            axes.set_xticks(counts, [f"{count:,}" for count in counts])
            axes.minorticks_off()
            axes.set_xlim(counts[0] / 1.4, counts[-1] * 1.4)
            axes.set_xlabel("waits at once (log scale)")
