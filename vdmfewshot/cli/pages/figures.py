"""Figures of a page, drawn by plotly in the browser."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from vdmfewshot.cli.pages.compare import Comparison
from vdmfewshot.cli.pages.runs import RunReport

#: Okabe and Ito's colours, which people with any kind of colour vision tell apart
COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")
GREY = "#8a8f98"


def library() -> str:
    """Plotly's JavaScript, to stand in a page once.

    Raises:
        ValueError: if plotly is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise ValueError(
            "report --html draws with plotly, which is not installed; pip install 'vdmfewshot[report]'"
        ) from error
    return str(get_plotlyjs())


def curves(runs: Sequence[RunReport]) -> list[tuple[str, str]]:
    """Score against number of pairs, one figure a task that was run with at least two numbers of pairs.

    Returns:
        (task, HTML) of each.
    """
    tasks: dict[tuple[str, str], list[RunReport]] = defaultdict(list)
    for run in runs:
        if isinstance(run.settings.get("shots"), int):
            tasks[run.task, run.main].append(run)
    found = {name: own for name, own in tasks.items() if len({run.settings["shots"] for run in own}) > 1}
    return [(task, _curve(main, own)) for (task, main), own in found.items()]


def _curve(main: str, runs: Sequence[RunReport]) -> str:
    import plotly.graph_objects as go

    figure = go.Figure()
    lines: dict[str, list[RunReport]] = defaultdict(list)
    for run in runs:
        lines[", ".join(str(run.settings[k]) for k in ("model", "weights") if k in run.settings)].append(run)
    for (name, own), color in zip(lines.items(), COLORS * len(lines), strict=False):
        x = sorted({run.settings["shots"] for run in own})
        rows = [[run.row for run in own if run.settings["shots"] == n] for n in x]
        mean, low, high = ([_mean(row[field] for row in at) for at in rows] for field in ("score", "low", "high"))
        figure.add_scatter(x=[*x, *x[::-1]], y=[*high, *low[::-1]], fill="toself", line_width=0, fillcolor=color,
                           opacity=0.2, showlegend=False, hoverinfo="skip")  # fmt: skip
        figure.add_scatter(x=x, y=mean, mode="lines+markers", line_color=color, name=f"{name} ({len(own)} runs)")
    for reference, dash in (("ceiling", "dash"), ("copy_input", "dot"), ("mean_target", "dashdot")):
        value = _mean(run.row.get(reference) for run in runs)
        if value is not None:
            figure.add_hline(y=value, line_dash=dash, line_color=GREY, annotation_text=reference.replace("_", "-"))
    figure.update_xaxes(title="pairs", type="log", dtick="D1", tickvals=[1, 2, 3, 4, 5, 8, 10, 16, 30, 100])
    figure.update_yaxes(title=main)
    return _html(figure)


def scatter(comparison: Comparison) -> str:
    """Score of the second run against that of the first, a point a query."""
    import plotly.graph_objects as go

    x, y = zip(*comparison.scores, strict=True)
    low, high = min(*x, *y), max(*x, *y)
    figure = go.Figure()
    figure.add_scatter(
        x=[low, high], y=[low, high], mode="lines", line={"color": GREY, "dash": "dot"}, hoverinfo="skip"
    )
    figure.add_scatter(x=x, y=y, mode="markers", marker_color=COLORS[0], text=[plain(key) for key in comparison.keys])
    figure.update_layout(showlegend=False)
    figure.update_xaxes(title=plain(f"{comparison.first.folder}"))
    figure.update_yaxes(title=plain(f"{comparison.second.folder}"))
    return _html(figure)


def plain(text: str) -> str:
    """Text that plotly, which reads some HTML in labels, shows as it is."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _mean(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _html(figure: Any) -> str:
    figure.update_layout(
        template="none", height=420, margin={"l": 60, "r": 20, "t": 20, "b": 50}, font_color=GREY,
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)",
    )  # fmt: skip
    figure.update_xaxes(gridcolor="rgba(128,128,128,.25)")
    figure.update_yaxes(gridcolor="rgba(128,128,128,.25)")
    return str(figure.to_html(full_html=False, include_plotlyjs=False, config={"displaylogo": False}))
