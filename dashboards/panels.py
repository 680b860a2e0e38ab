"""Constructors for the nine panel types that the pages use, in one style.

Panels contain no transformations and override only the name, colour, unit and links of single series and columns.
Everything that a page shows is therefore in its queries, and any reader of the JSON can draw it.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from barograph.contract import format_duration
from grafana_foundation_sdk.builders import (
    barchart,
    common,
    heatmap,
    nodegraph,
    stat,
    statetimeline,
    table,
    text,
    timeseries,
)
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders.heatmap import HeatmapColorOptions, YAxisConfig
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode, HeatmapColorScale
from grafana_foundation_sdk.models.text import TextMode

from barograph_server.dashboards import style
from barograph_server.dashboards.links import LINKS, DataLink
from barograph_server.dashboards.page_files import PanelEntry
from barograph_server.dashboards.query import DATASOURCE, Query
from barograph_server.dashboards.style import LEAST_PSI, STYLE
from barograph_server.sketches.rollout import decision
from barograph_server.warehouse.panels import TIME_SERIES, PanelQuery
from barograph_server.warehouse.panels.fragments import ARC
from barograph_server.warehouse.panels.named import constants, named_queries
from barograph_server.warehouse.panels.query import DAY_S

PANEL_TYPES = ("timeseries", "stat", "table", "state-timeline", "heatmap", "barchart", "nodeGraph", "text", "alertlist")

AnyPanel = (
    timeseries.Panel
    | stat.Panel
    | table.Panel
    | statetimeline.Panel
    | heatmap.Panel
    | barchart.Panel
    | nodegraph.Panel
    | text.Panel
    | build.Panel
)
PanelT = TypeVar("PanelT", bound=AnyPanel)


def time_series(
    entry: PanelEntry,
    *queries: PanelQuery,
    stacked: bool = False,
    counted: bool = False,
    at_least: float | None = None,
    at_most: float | None = None,
    logarithmic: bool = False,
    repeat: str | None = None,
) -> timeseries.Panel:
    """A time-series panel: lines, `stacked` areas for parts of a whole, or bars for `counted` things.

    With a `logarithmic` axis, thresholds stay visible beside values that are many times larger. Series named "at least"
    and "at most" are drawn as a band, estimates dashed, and "none" as a line also among bars.

    Grafana joins the series of a query into one frame over all times. A series with a longer period than others has no
    value at most of these times, which is not a gap: lines cross it if it is not much longer than the period.
    """
    panel = (
        _with_queries(timeseries.Panel(), entry, queries)
        .legend(_legend())
        .tooltip(common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI).sort(kinds.SortOrder.DESCENDING))
        # A version or field keeps its colour whatever else the panel shows.
        .color_scheme(build.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
        .draw_style(kinds.GraphDrawStyle.BARS if counted else kinds.GraphDrawStyle.LINE)
        .line_width(1)
        .fill_opacity(60 if counted else 30 if stacked else 0)
        .show_points(kinds.VisibilityMode.AUTO)
    )
    _gaps(panel, queries)
    if stacked or counted:
        panel.stacking(common.StackingConfig().mode(kinds.StackingMode.NORMAL))
    if at_least is not None:
        panel.min(at_least)
    if at_most is not None:
        panel.max(at_most)
    if logarithmic:
        panel.min(LEAST_PSI)
        panel.scale_distribution(common.ScaleDistributionConfig().type(kinds.ScaleDistribution.LOG).log(10))
        # Grafana writes these ticks with the digits of a linear axis, so that the small ones would all read 0.
        ticks = (f"{factor * 10**-digits:.{digits}f}" for digits in range(1, 6) for factor in (1, 2, 5))
        panel.mappings([models.ValueMap({tick: models.ValueMappingResult(text=tick) for tick in ticks})])
    _band(panel, queries)
    _lines(panel, queries)
    _names(panel, queries)
    _colours(panel, queries)
    _units(panel, entry)
    if entry.link:
        _link_series(panel, queries, LINKS[entry.link])
    return _repeated(panel, repeat)


def stat_panel(
    entry: PanelEntry,
    query: PanelQuery,
    *,
    level: bool = False,
    outcome: bool = False,
    bad_from: float | None = None,
    bad_under: float | None = None,
    decimals: int | None = None,
) -> stat.Panel:
    """A stat panel: one or a few large numbers, named by the text columns of the row.

    Args:
        level: whether the number encodes a level, which the panel then shows as a word.
        outcome: the same for a decision about a candidate.
        bad_from: numbers from here on are red.
        bad_under: numbers below this are red.
        decimals: digits after the decimal point.
    """
    numbers = sum(column.kind == "number" for column in query.columns)
    panel = (
        _with_queries(stat.Panel(), entry, (query,))
        # The row itself instead of a reduction, so that a link can use its text columns. The limit counts values.
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(True).limit(numbers).fields(""))
        .graph_mode(kinds.BigValueGraphMode.NONE)
        .color_mode(kinds.BigValueColorMode.BACKGROUND if level or outcome else kinds.BigValueColorMode.VALUE)
        .text_mode(kinds.BigValueTextMode.VALUE_AND_NAME if len(query.columns) > 1 else kinds.BigValueTextMode.VALUE)
        .justify_mode(kinds.BigValueJustifyMode.AUTO)
        .orientation(kinds.VizOrientation.AUTO)
        .no_value(entry.empty or "no data")
        .thresholds(_steps(bad_from, bad_under))
    )
    if level:
        panel.mappings([_numbered(STYLE.numbered_levels())])
    if outcome:
        panel.mappings([_numbered(STYLE.numbered_outcomes())])
    if decimals is not None:
        panel.decimals(decimals)
    return _linked(_plain_text(panel, query), entry)


def table_panel(
    entry: PanelEntry, query: PanelQuery, *, widths: Mapping[str, int] | None = None, addresses: str = ""
) -> table.Panel:
    """A table panel. Words for levels and states are coloured in every column.

    Args:
        widths: of columns, in pixels; the others share what is left.
        addresses: a column of addresses, to which its cells link.
    """
    panel = (
        _with_queries(table.Panel(), entry, (query,))
        .show_header(True)
        .cell_options(kinds.TableColorTextCellOptions())
        .align(kinds.FieldTextAlignment.AUTO)
        .filterable(True)
        .thresholds(_steps(None, None))
        .mappings(
            [
                models.ValueMap(
                    {word: models.ValueMappingResult(text=word, color=hue) for word, hue in STYLE.words().items()}
                ),
                # Otherwise an empty cell shows the text of an empty table.
                _blank(models.SpecialValueMatch.NULL),
                _blank(models.SpecialValueMatch.EMPTY),
            ]
        )
    )
    _units(panel, entry)
    for name, width in (widths or {}).items():
        panel.override_by_name(name, [models.DynamicConfigValue("custom.width", width)])
    if addresses:
        link = {"title": "Open the trace", "url": "${__value.raw}", "targetBlank": True}
        panel.override_by_name(addresses, [models.DynamicConfigValue("links", [link])])
    return _linked(_plain_text(panel, query), entry)


def timeline(entry: PanelEntry, query: PanelQuery, *, words: Mapping[str, tuple[str, str]]) -> statetimeline.Panel:
    """A state timeline. Each bar shows the word, so that colour is never the only cue."""
    panel = (
        _names(_with_queries(statetimeline.Panel(), entry, (query,)), (query,))
        .merge_values(True)
        .show_value(kinds.VisibilityMode.AUTO)
        .align_value("left")  # type: ignore[arg-type]
        .row_height(0.9)
        .fill_opacity(70)
        .line_width(0)
        .legend(_legend())
        .thresholds(_steps(None, None))
        .mappings([_numbered(words)])
    )
    _gaps(panel, (query,))
    return _linked(panel, entry)


def heatmap_panel(entry: PanelEntry, query: PanelQuery) -> heatmap.Panel:
    """A heatmap of differences per cell over time, red above and blue below; one row per cell, in their order."""
    return (
        _names(_with_queries(heatmap.Panel(), entry, (query,)), (query,))
        .calculate(False)
        .cell_gap(1)
        .color(
            HeatmapColorOptions()
            .mode(HeatmapColorMode.SCHEME)
            .scheme("RdBu")
            .reverse(True)
            .steps(32)
            .scale(HeatmapColorScale.LINEAR)
            .min(-0.1)
            .max(0.1)
        )
        .show_legend()
        .y_axis(YAxisConfig().axis_placement(kinds.AxisPlacement.LEFT))
    )


def bar_chart(entry: PanelEntry, query: PanelQuery, *, repeat: str | None = None) -> barchart.Panel:
    """A bar chart; the first column names the bars.

    Args:
        repeat: a variable; the panel is shown once for each of its values, side by side.
    """
    panel = (
        _with_queries(barchart.Panel(), entry, (query,))
        .x_field(query.columns[0].name)
        .orientation(kinds.VizOrientation.VERTICAL)
        .stacking(kinds.StackingMode.NONE)
        .group_width(0.8)
        .bar_width(0.95)
        .show_value(kinds.VisibilityMode.NEVER)
        .x_tick_label_rotation(-45)
        .x_tick_label_max_length(24)
        .fill_opacity(70)
        .legend(_legend())
        .color_scheme(build.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
    )
    _colours(panel, (query,))
    if entry.link:
        panel.links([LINKS[entry.link].built()])
    return _plain_text(_repeated(panel, repeat), query)


def node_graph(entry: PanelEntry, nodes: PanelQuery, edges: PanelQuery) -> nodegraph.Panel:
    """A graph with a ring around each node in the colour of its level.

    Grafana takes the frame with a column `source` as edges. It draws rings from columns with the prefix `arc__`.
    """
    panel = _with_queries(nodegraph.Panel(), entry, (nodes, edges))
    for level, hue in STYLE.level_colours.items():
        fixed = models.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": hue})
        panel.override_by_name(f"{ARC}{level}", [fixed, models.DynamicConfigValue("displayName", level)])
    return _plain_text(panel, nodes)


def text_panel(entry: PanelEntry) -> text.Panel:
    return _with_queries(text.Panel(), entry, ()).mode(TextMode.MARKDOWN).content(entry.text)


def alert_list(entry: PanelEntry, **options: Any) -> build.Panel:
    """Grafana's list of alerts, for which the SDK has no builder and Grafana publishes no types."""
    return _with_queries(build.Panel(), entry, ()).type("alertlist").options(options)


KINDS: Mapping[str, Callable[..., AnyPanel]] = {
    "chart": time_series,
    "stat": stat_panel,
    "table": table_panel,
    "levels": partial(timeline, words=STYLE.numbered_levels()),
    "outcomes": partial(timeline, words=STYLE.numbered_outcomes()),
    "states": partial(timeline, words=STYLE.numbered_states()),
    "heatmap": heatmap_panel,
    "bars": bar_chart,
    "graph": node_graph,
    "text": text_panel,
    "alerts": alert_list,
}
"""Kinds of panels in the files of pages."""


class _Constants(dict[str, Any]):
    """What descriptions name: constants of decisions, and of the files of queries."""

    def __missing__(self, file: str) -> Any:
        return constants(file)


def make_panel(entry: PanelEntry) -> AnyPanel:
    queries = named_queries()
    return KINDS[entry.kind](entry, *(queries[name] for name in entry.queries), **entry.options)


def _with_queries(panel: PanelT, entry: PanelEntry, queries: Sequence[PanelQuery]) -> PanelT:
    description = entry.description.format_map(_Constants(decision=decision))
    panel.id(entry.id).title(entry.title).description(description).unit(getattr(STYLE.units, entry.unit))
    if entry.empty:
        panel.no_value(entry.empty)
    if queries:
        panel.datasource(DATASOURCE).interval(format_duration(max(query.grain_s for query in queries)))
    for ref_id, query in zip("ABCDEF", queries, strict=False):
        panel.with_target(Query(query, ref_id))
    return panel


def _legend() -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .display_mode(kinds.LegendDisplayMode.LIST)
        .placement(kinds.LegendPlacement.BOTTOM)
        .show_legend(True)
    )


RepeatedPanel = TypeVar("RepeatedPanel", timeseries.Panel, barchart.Panel)


def _repeated(panel: RepeatedPanel, variable: str | None) -> RepeatedPanel:
    """Show the panel once for each value of a variable, side by side."""
    if variable is not None:
        panel.repeat(variable).repeat_direction("h")
    return panel


def _linked(panel: PanelT, entry: PanelEntry) -> PanelT:
    if entry.link:
        panel.data_links([LINKS[entry.link].built()])
    return panel


def _link_series(panel: timeseries.Panel, queries: Sequence[PanelQuery], link: DataLink) -> None:
    """Link the series with labels only: a threshold has no label for the link to take."""
    links = [{"title": link.title, "url": link.url, "targetBlank": False}]
    for query in queries:
        if any(column.kind == "text" for column in query.columns):
            for column in query.columns:
                if column.kind == "number":
                    panel.override_by_name(column.name, [models.DynamicConfigValue("links", links)])


SeriesPanel = TypeVar("SeriesPanel", timeseries.Panel, statetimeline.Panel, heatmap.Panel)


def _names(panel: SeriesPanel, queries: Sequence[PanelQuery]) -> SeriesPanel:
    """Name each series by its last text column, and by its number column if its query has several.

    Grafana's own names begin with the refId of the query and the name of the column (`A psi temp`).
    """
    for query in queries:
        texts = [column.name for column in query.columns if column.kind == "text"]
        numbers = [column.name for column in query.columns if column.kind == "number"]
        for number in numbers:
            parts = [f"${{__field.labels.{text}}}" for text in texts[-1:]]
            if len(numbers) > 1 or not texts:
                parts.append(number)
            # The only query's columns without labels already have their names.
            if texts or len(queries) > 1:
                panel.override_by_name(number, [models.DynamicConfigValue("displayName", ": ".join(parts))])
    return panel


def _band(panel: timeseries.Panel, queries: Sequence[PanelQuery]) -> None:
    """Fill the area between the ends of an interval, without lines."""
    if not any({"at least", "at most"} <= set(query.names) for query in queries):
        return
    invisible = models.DynamicConfigValue("custom.lineWidth", 0)
    filled = models.DynamicConfigValue("custom.fillOpacity", 20)
    panel.override_by_name("at least", [invisible])
    panel.override_by_name("at most", [invisible, filled, models.DynamicConfigValue("custom.fillBelowTo", "at least")])


def _lines(panel: timeseries.Panel, queries: Sequence[PanelQuery]) -> None:
    """Draw estimates dashed, and a line at 0 where bars would show nothing."""
    dashed = ("custom.lineStyle", {"fill": "dash", "dash": [8, 6]})
    drawn = {"estimated": dashed, "expected": dashed, "none": ("custom.drawStyle", "line")}
    for name in dict.fromkeys(name for query in queries for name in query.names):
        if name in drawn:
            panel.override_by_name(name, [models.DynamicConfigValue(*drawn[name])])


GAP_MARGIN_S = 60
"""Time by which a gap exceeds the period of its series, in seconds."""


def _gaps(panel: timeseries.Panel | statetimeline.Panel, queries: Sequence[PanelQuery]) -> None:
    """Connect values that are at most a period apart, and interrupt lines and states where data are missing."""
    period_s = max(query.period_s for query in queries)
    gap_ms = (period_s + GAP_MARGIN_S) * 1000
    panel.span_nulls(gap_ms)
    # Without a row of any series there is no null either. A bound below the step would interrupt every line.
    if period_s >= DAY_S:
        panel.insert_nulls(gap_ms)


def _colours(panel: timeseries.Panel | barchart.Panel, queries: Sequence[PanelQuery]) -> None:
    for name in dict.fromkeys(name for query in queries for name in query.names if not _is_split(query, name)):
        if name in STYLE.series_colours:
            fixed = {"mode": "fixed", "fixedColor": STYLE.series_colours[name]}
            panel.override_by_name(name, [models.DynamicConfigValue("color", fixed)])


def _is_split(query: PanelQuery, name: str) -> bool:
    """Return whether a query has a series of a number for each version or model, whose colours must differ."""
    is_limit = STYLE.series_colours.get(name) in (style.LIMIT_LINE, style.WARNING_LINE)
    has_labels = query.format == TIME_SERIES and any(column.kind == "text" for column in query.columns)
    return has_labels and not is_limit and sum(column.kind == "number" for column in query.columns) == 1


def _units(panel: timeseries.Panel | table.Panel, entry: PanelEntry) -> None:
    for name, unit in entry.units.items():
        panel.override_by_name(name, [models.DynamicConfigValue("unit", getattr(STYLE.units, unit))])


ColumnsPanel = TypeVar("ColumnsPanel", stat.Panel, table.Panel, barchart.Panel, nodegraph.Panel)


def _plain_text(panel: ColumnsPanel, query: PanelQuery) -> ColumnsPanel:
    """Show text as it is. With the panel's unit Grafana writes text that looks like a number as one: `1.0` as `1`."""
    if any(column.kind == "text" for column in query.columns):
        panel.override_by_field_type("string", [models.DynamicConfigValue("unit", "string")])
    return panel


def _steps(bad_from: float | None, bad_under: float | None) -> build.ThresholdsConfig:
    if bad_under is not None:
        steps = [models.Threshold(None, style.MAJOR), models.Threshold(bad_under, style.TEXT)]
    else:
        steps = [models.Threshold(None, style.TEXT)]
        if bad_from is not None:
            steps.append(models.Threshold(bad_from, style.MAJOR))
    return build.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)


def _blank(match: models.SpecialValueMatch) -> models.SpecialValueMap:
    return models.SpecialValueMap(
        models.DashboardSpecialValueMapOptions(match=match, result=models.ValueMappingResult(text="–"))
    )


def _numbered(words: Mapping[str, tuple[str, str]]) -> models.ValueMap:
    return models.ValueMap(
        {number: models.ValueMappingResult(text=word, color=colour) for number, (word, colour) in words.items()}
    )
