// One function per panel type that the dashboards use; each draws `frames` into `body`. A type that is not here is an
// error on the page, so that a dashboard cannot show less here than in Grafana unnoticed.

import { element, nothing } from "./elements.js";
import { drawNodeGraph } from "./graph.js";
import { PALETTE, axisFormat, colour, fieldConfig, filled, inkOn, isMissing, readable, time, substituteVariables, valueColour, written } from "./values.js";

const styled = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const AXIS = { ticks: "", gridcolor: styled("--grid"), zerolinecolor: styled("--line") };
const LAYOUT = {
  margin: { l: 52, r: 12, t: 6, b: 40 },
  font: { family: "system-ui, sans-serif", size: 11, color: styled("--ink") },
  paper_bgcolor: "rgba(0,0,0,0)",
  plot_bgcolor: "rgba(0,0,0,0)",
  // `drawChart` draws one that cannot cover the chart.
  showlegend: false,
  hovermode: "closest",
  template: { layout: { xaxis: { ...AXIS, ticklabelstandoff: 4 }, yaxis: AXIS } },
};
const OPTIONS = { displayModeBar: false, responsive: true };

export const RENDERERS = {
  timeseries: drawTimeseries,
  stat: drawStat,
  table: drawTable,
  "state-timeline": drawStates,
  heatmap: drawHeatmap,
  barchart: drawBars,
  nodeGraph: drawNodeGraph,
  text: drawText,
};

// Numbers that JSON does not have are sent as text.
export const decoded = (frames) => frames.map(({ columns }) => ({
  columns: columns.map((column) => (column.type === "number" ? { ...column, values: column.values.map((value) => value && Number(value)) } : column)),
}));
const size = (frame) => frame.columns[0]?.values.length ?? 0;
const rowOf = (frame, index) => Object.fromEntries(frame.columns.map((column) => [column.name, column.values[index]]));

// Long rows to one series per number column and set of labels, as the data source's format 0 does it. Names follow
// Grafana: where the panel sets none, the refId of the query (if several have rows), the column and the labels.
export function series(frames, panel, endMs) {
  const refIds = (panel.targets ?? []).filter((target) => !target.hide).map((target) => target.refId);
  const answers = frames.map((frame, index) => ({ refId: refIds[index], all: seriesOf(frame) })).filter(({ all }) => all.length > 0);
  const allSeries = answers.flatMap(({ refId, all }) => all.map((each) => ({ ...each, refId, position: positionOf(each, all) })));
  const labelNames = new Set(allSeries.flatMap((each) => Object.keys(each.labels)));
  for (const each of allSeries) {
    const labels = labelNames.size === 1 ? Object.values(each.labels).join("") : writtenLabels(each.labels);
    const parts = [answers.length > 1 ? each.refId : "", each.field, labels].filter(Boolean);
    const byDefault = parts.length > 1 ? parts.join(" ") : `${each.field}${each.position}`;
    const displayName = (config) => displayed(config.displayName ?? "", each) || byDefault;
    each.config = fieldConfig(panel, "number", each.field, displayName);
    each.name = displayName(each.config);
  }
  return joined(allSeries, endMs);
}

// Distinguishes series of one column that have no other name.
function positionOf(each, all) {
  const same = all.filter(({ field }) => field === each.field);
  return same.length > 1 ? ` ${same.indexOf(each) + 1}` : "";
}

// One frame over the times of all series, with Grafana's nulls: where a series has no value at a time of its query, and
// where no series has one for longer than `insertNulls`. Runs of nulls shorter than `spanNulls` are left out, so that
// lines and states cross them.
function joined(allSeries, endMs) {
  const times = new Map();
  for (const each of allSeries) times.set(each.refId, [...(times.get(each.refId) ?? []), ...each.x]);
  for (const [refId, all] of times) times.set(refId, [...new Set(all)].sort((a, b) => a - b));
  for (const each of allSeries) {
    const values = new Map(each.x.map((moment, index) => [moment, each.y[index]]));
    const { drawStyle, spanNulls, insertNulls } = each.config.custom;
    const all = times.get(each.refId).map((moment) => [moment, values.get(moment) ?? null]);
    const gaps = withLongGaps(all, insertNulls, endMs);
    const points = drawStyle === "bars" ? gaps : withoutShortGaps(gaps, spanNulls);
    each.x = points.map(([moment]) => moment);
    each.y = points.map(([, value]) => value);
  }
  return allSeries;
}

function withLongGaps(points, longest, endMs) {
  if (typeof longest !== "number") return points;
  return points.flatMap((point, index) => {
    const next = points[index + 1]?.[0] ?? endMs;
    return next - point[0] > longest ? [point, [point[0] + longest, null]] : [point];
  });
}

function withoutShortGaps(points, shortest) {
  if (typeof shortest !== "number") return points;
  const kept = [];
  let gap = [];
  for (const point of points) {
    if (point[1] === null) {
      gap.push(point);
      continue;
    }
    const last = kept.at(-1);
    if (!last || point[0] - last[0] >= shortest) kept.push(...gap);
    kept.push(point);
    gap = [];
  }
  return [...kept, ...gap];
}

// Text and booleans are labels. Series with labels are ordered by column, then by labels.
function seriesOf(frame) {
  const at = frame.columns.find((column) => column.type === "time");
  if (!at) return [];
  const labels = frame.columns.filter((column) => column.type === "string" || column.type === "boolean");
  const groups = new Map();
  for (const number of frame.columns.filter((column) => column.type === "number")) {
    at.values.forEach((moment, index) => {
      const values = labels.map((label) => String(label.values[index] ?? ""));
      const key = JSON.stringify([number.name, ...values]);
      if (!groups.has(key)) {
        const names = Object.fromEntries(labels.map((label, i) => [label.name, values[i]]));
        groups.set(key, { order: [number.name, ...values], field: number.name, labels: names, x: [], y: [] });
      }
      groups.get(key).x.push(moment);
      groups.get(key).y.push(Number.isFinite(number.values[index]) ? number.values[index] : null);
    });
  }
  return labels.length > 0 ? [...groups.values()].sort(byOrder) : [...groups.values()];
}

function byOrder({ order: a }, { order: b }) {
  const at = a.findIndex((text, index) => text !== b[index]);
  return at < 0 ? 0 : a[at] < b[at] ? -1 : 1;
}

function writtenLabels(labels) {
  const parts = Object.keys(labels).sort().map((name) => `${name}="${labels[name]}"`);
  return parts.length > 0 ? `{${parts.join(", ")}}` : "";
}

const displayed = (template, each) => template.replaceAll(/\$\{__field\.labels\.([^}]+)\}/g, (_, label) => each.labels[label] ?? "");

// The columns of a table with their titles and configurations.
export function tableColumns(frame, panel) {
  return frame.columns.map((column) => {
    const config = fieldConfig(panel, column.type, column.name, (current) => current.displayName || column.name);
    return { ...column, config, title: config.displayName || column.name };
  });
}

// The colour of each series: a fixed one, or the next of the palette that no series of the panel has.
function distinctTints(configs) {
  const fixed = configs.map((config) => (config.color?.mode === "fixed" ? colour(config.color.fixedColor) : undefined));
  const free = PALETTE.filter((tint) => !fixed.includes(tint));
  let next = 0;
  return fixed.map((tint) => tint ?? free[next++ % free.length]);
}

// A chart with its legend below it, as in Grafana: the legend wraps, and scrolls if it is long. A click hides a series.
function drawChart(body, traces, layout, hasLegend = true) {
  const chart = element("div", undefined, { class: "chart" });
  const legend = element("ul", undefined, { class: "legend" });
  body.append(chart);
  traces.forEach((trace, index) => {
    if (!hasLegend || trace.showlegend === false) return;
    const entry = element("li", undefined, { title: trace.name });
    entry.append(Object.assign(element("i"), { style: `background: ${trace.marker.color}` }), trace.name);
    entry.addEventListener("click", () => {
      const isHidden = entry.classList.toggle("hidden");
      Plotly.restyle(chart, { visible: isHidden ? "legendonly" : true }, [index]);
    });
    legend.append(entry);
  });
  // Before the chart is drawn, which takes the height that the legend leaves.
  if (legend.children.length > 0) body.append(legend);
  Plotly.newPlot(chart, traces, { ...LAYOUT, ...layout }, OPTIONS);
}

function thresholdShapes(config) {
  const mode = config.custom?.thresholdsStyle?.mode ?? "off";
  if (mode === "off") return [];
  return (config.thresholds?.steps ?? [])
    .filter((step) => step.value !== null && step.value !== undefined)
    .map((step) => ({
      type: "line", xref: "paper", x0: 0, x1: 1, y0: step.value, y1: step.value,
      line: { color: colour(step.color), width: 1, dash: mode.startsWith("dashed") ? "dash" : "solid" },
    }));
}

function noteShapes(notes) {
  return notes.map((note) => ({
    type: "line", yref: "paper", y0: 0, y1: 1, x0: note.time, x1: note.time,
    line: { color: colour(note.color ?? "blue"), width: 1, dash: "dot" },
  }));
}

function noteTrace(notes) {
  if (notes.length === 0) return [];
  return [{
    x: notes.map((note) => note.time), y: notes.map(() => 0), yaxis: "y2", mode: "markers", showlegend: false,
    marker: { symbol: "triangle-up", size: 8, color: notes.map((note) => colour(note.color ?? "blue")) },
    text: notes.map((note) => note.text), hovertemplate: "%{text}<extra></extra>",
  }];
}

function timeAxis(state) {
  // Months on one line are so wide that narrow panels turn them, and then they do not fit under the axis.
  const months = { dtickrange: ["M1", "M12"], value: "%b\n%Y" };
  return { type: "date", range: [state.fromMs, state.toMs], showgrid: true, tickformatstops: [months] };
}

function drawTimeseries(body, panel, frames, state, notes) {
  const allSeries = series(frames, panel, state.toMs);
  const base = fieldConfig(panel, "number");
  const isLogarithmic = base.custom.scaleDistribution?.type === "log";
  const heights = allSeries.flatMap((each) => each.y.filter((value) => value !== null));
  if (heights.length === 0) return nothing(body, panel);
  // A logarithmic axis has no zero: such values lie below its lower end.
  const least = base.min ?? 0.001;
  const onAxis = (value) => (isLogarithmic && value !== null && value <= 0 ? least / 10 : value);
  const tints = distinctTints(allSeries.map((each) => each.config));
  const traces = allSeries.map((each, index) => {
    const { config } = each;
    const { custom } = config;
    const tint = tints[index];
    const trace = {
      x: each.x, y: each.y.map(onAxis), name: each.name,
      customdata: each.y.map((value) => written(value, config, "number")),
      hovertemplate: "%{x|%Y-%m-%d %H:%M:%S}  %{customdata}<extra>%{fullData.name}</extra>",
    };
    if (custom.drawStyle === "bars") return { ...trace, type: "bar", marker: { color: tint } };
    const shape = custom.lineInterpolation?.startsWith("step") ? "hv" : "linear";
    const mode = custom.lineWidth === 0 ? "lines" : custom.drawStyle === "points" ? "markers" : "lines+markers";
    // "tonexty" fills to the series before, which is the lower end of the band.
    const fill = custom.fillBelowTo ? "tonexty" : (custom.fillOpacity ?? 0) > 0 ? "tozeroy" : undefined;
    return {
      ...trace, type: "scatter", mode, fill, connectgaps: custom.spanNulls === true,
      fillcolor: fill && `${tint}${Math.round(custom.fillOpacity * 2.55).toString(16).padStart(2, "0")}`,
      line: { color: tint, width: custom.lineWidth ?? 1.5, shape, dash: custom.lineStyle?.fill === "dash" ? "dash" : undefined },
      marker: { size: markerSizes(each.y), color: tint },
    };
  });
  const stacked = base.custom?.stacking?.mode && base.custom.stacking.mode !== "none";
  drawChart(body, [...traces, ...noteTrace(notes)], {
    barmode: stacked ? "stack" : "group",
    xaxis: timeAxis(state),
    yaxis: {
      tickformat: axisFormat(base, heights), rangemode: base.min === 0 ? "tozero" : "normal",
      ...(base.max !== undefined && base.min !== undefined ? { range: [base.min, base.max] } : {}),
      // A line at zero alone would stand in the middle of an axis of its own making.
      ...(heights.every((value) => value === 0) ? { range: [0, base.unit === "percentunit" ? 0.01 : 1] } : {}),
      ...(isLogarithmic ? { type: "log", range: [Math.log10(least), Math.log10(Math.max(...heights, 1) * 1.2)], dtick: 1 } : {}),
    },
    yaxis2: { overlaying: "y", visible: false, range: [0, 1], fixedrange: true },
    shapes: [...thresholdShapes(base), ...noteShapes(notes)],
  }, panel.options?.legend?.showLegend !== false);
}

// The values of a stat panel that shows rows: as many as its limit, whichever rows and columns they are in.
export function stats(frames, panel) {
  const shown = frames.flatMap((frame) => {
    const columns = tableColumns(frame, panel);
    const numbers = columns.filter((column) => column.type === "number");
    return numbers.flatMap(({ name, title, values, config }) => values.map((value, index) => {
      const texts = config.displayName ? [] : textsOf(columns, index);
      const parts = texts.length === 0 || numbers.length > 1 ? [...texts, title] : texts;
      return { field: name, title: parts.join(" "), value, config, row: rowOf(frame, index) };
    }));
  });
  return shown.slice(0, panel.options.reduceOptions.limit);
}

function textsOf(columns, index) {
  const texts = columns.filter((column) => column.type === "string");
  return texts.map(({ values, config }) => written(values[index] ?? "", config, "string")).filter(Boolean);
}

// As in Grafana, many points are a line, and those without a neighbor are still seen.
function markerSizes(heights) {
  const missing = (value) => value === null || value === undefined;
  const isSparse = heights.filter((value) => !missing(value)).length <= 100;
  return heights.map((_, index) => (missing(heights[index - 1]) && missing(heights[index + 1]) ? 6 : isSparse ? 4 : 0));
}

function drawStat(body, panel, frames, state) {
  const shown = stats(frames, panel);
  if (shown.length === 0) return nothing(body, panel);
  const holder = element("div", undefined, { class: "stats" });
  for (const { title, value, config, row } of shown) {
    const made = element("div", undefined, { class: "stat" });
    const text = element("b", written(value, config, "number"));
    const tint = valueColour(value, config, "number");
    if (tint && panel.options.colorMode === "background") Object.assign(holder.style, { background: tint, color: inkOn(tint) });
    else if (tint) text.style.color = readable(tint);
    made.append(linked(text, config, state, row, value));
    if (panel.options.textMode === "value_and_name") made.append(element("span", title, { class: "name" }));
    holder.append(made);
  }
  body.append(holder);
}

function drawTable(body, panel, frames, state) {
  const frame = frames[0];
  if (!frame || size(frame) === 0) return nothing(body, panel);
  const shown = tableColumns(frame, panel);
  const table = element("table");
  const head = element("tr");
  for (const { title, config } of shown) head.append(element("th", title, { title: config.description ?? "" }));
  table.append(head);
  for (let index = 0; index < size(frame); index += 1) {
    const row = rowOf(frame, index);
    const line = element("tr");
    for (const { type, values, config } of shown) {
      const cell = element("td", undefined, type === "number" ? { class: "number" } : {});
      cell.append(linked(element("span", written(values[index], config, type, values)), config, state, row, values[index]));
      const tint = config.custom.cellOptions?.type === "color-text" ? valueColour(values[index], config, type) : undefined;
      if (tint) cell.style.color = readable(tint);
      line.append(cell);
    }
    table.append(line);
  }
  body.append(table);
}

function linked(inner, config, state, row, value) {
  const link = config.links?.[0];
  if (!link) return inner;
  // The value may be a whole address.
  const whole = link.url === "${__value.raw}";
  if (whole && !/^https?:\/\//.test(value)) return inner;
  const href = whole ? value : filled(link.url, state, { ...row, __value: value });
  const made = element("a", undefined, { href, title: link.title ?? "", ...(link.targetBlank ? { target: "_blank", rel: "noopener noreferrer" } : {}) });
  made.append(inner);
  return made;
}

function drawStates(body, panel, frames, state) {
  const allSeries = series(frames, panel, state.toMs);
  if (allSeries.length === 0) return nothing(body, panel);
  const traces = new Map();
  for (const each of allSeries) {
    const { config } = each;
    for (const { from, to, value } of runsOfValues(each, state.toMs)) {
      if (isMissing(value)) continue;
      const text = written(value, config, "number");
      if (!traces.has(text)) {
        traces.set(text, { type: "bar", orientation: "h", name: text, x: [], y: [], base: [], customdata: [], marker: { color: valueColour(value, config, "number") ?? styled("--faint"), line: { width: 0 } }, hovertemplate: "%{y}  %{customdata}<extra>%{fullData.name}</extra>" });
      }
      const trace = traces.get(text);
      trace.base.push(from);
      trace.x.push(Math.max(to - from, 1));
      trace.y.push(each.name);
      trace.customdata.push(`${time(from)} to ${time(to)}`);
    }
  }
  drawChart(body, [...traces.values()], {
    barmode: "overlay", bargap: 0.25, margin: { ...LAYOUT.margin, l: 150 },
    xaxis: timeAxis(state), yaxis: { automargin: true, autorange: "reversed", type: "category", dtick: 1, categoryorder: "array", categoryarray: allSeries.map((each) => each.name) },
  });
}

// Consecutive equal values form one run. As in Grafana, the last one lasts until the end of the range.
function runsOfValues({ x, y }, end) {
  const runs = [];
  x.forEach((from, index) => {
    const to = x[index + 1] ?? Math.max(end, from);
    if (runs.at(-1)?.value === y[index]) runs.at(-1).to = to;
    else runs.push({ from, to, value: y[index] });
  });
  return runs;
}

function drawHeatmap(body, panel, frames, state) {
  const rows = series(frames, panel, state.toMs);
  if (rows.length === 0) return nothing(body, panel);
  const moments = [...new Set(rows.flatMap((row) => row.x))].sort((a, b) => a - b);
  const z = rows.map((row) => {
    const values = new Map(row.x.map((moment, index) => [moment, row.y[index]]));
    return moments.map((moment) => values.get(moment) ?? null);
  });
  const { config } = rows[0];
  // One moment alone has no width.
  const half = (state.toMs - state.fromMs) / 100, x = moments.length > 1 ? moments : [moments[0] - half, moments[0] + half];
  drawChart(body, [{
    type: "heatmap", x, y: rows.map((row) => row.name), z, colorscale: "RdBu", zmin: panel.options.color.min, zmax: panel.options.color.max,
    customdata: z.map((values) => values.map((value) => written(value, config, "number"))),
    hovertemplate: "%{x|%Y-%m-%d %H:%M:%S}  %{y}  %{customdata}<extra></extra>", colorbar: { thickness: 8, tickformat: axisFormat(config, z.flat()) },
  }], { margin: { ...LAYOUT.margin, l: 110 }, xaxis: timeAxis(state), yaxis: { type: "category", automargin: true } }, false);
}

function drawBars(body, panel, frames) {
  const frame = frames[0];
  if (!frame || size(frame) === 0) return nothing(body, panel);
  const columns = tableColumns(frame, panel);
  const { values, config: namesConfig, type } = columns.find((column) => column.name === panel.options.xField);
  const names = values.map((value) => written(value, namesConfig, type));
  const base = fieldConfig(panel, "number");
  const sideways = panel.options?.orientation === "horizontal";
  const shown = columns.filter((column) => column.type === "number");
  const tints = distinctTints(shown.map((column) => column.config));
  const traces = shown.map(({ title, values: bars, config }, index) => {
    const [x, y] = sideways ? [bars, names] : [names, bars];
    return {
      type: "bar", name: title, x, y, orientation: sideways ? "h" : "v", marker: { color: tints[index] }, opacity: 0.85,
      customdata: bars.map((value) => written(value, config, "number")), hovertemplate: "%{customdata}<extra>%{fullData.name}</extra>",
    };
  });
  const numbers = { tickformat: axisFormat(base, traces.flatMap((trace) => (sideways ? trace.x : trace.y))) };
  const categories = { type: "category", automargin: true };
  drawChart(body, traces, {
    barmode: "group", xaxis: sideways ? numbers : categories, yaxis: sideways ? { ...categories, autorange: "reversed" } : numbers,
  });
}

// Markdown as far as the dashboards write it: headings, paragraphs, lists, tables, bold, code and links.
function drawText(body, panel, frames, state) {
  for (const block of substituteVariables(panel.options?.content ?? "", state).split(/\n\s*\n/)) {
    const lines = block.trim().split("\n");
    if (lines.every((text) => /^[-*] /.test(text))) {
      const list = element("ul");
      for (const text of lines) list.append(inline(element("li"), text.slice(2), state));
      body.append(list);
    } else if (lines.every((text) => text.startsWith("|"))) {
      body.append(markdownTable(lines, state));
    } else {
      const heading = /^#+ (.*)$/.exec(lines[0]);
      body.append(heading ? element("h3", heading[1]) : inline(element("p"), lines.join(" "), state));
    }
  }
}

function markdownTable(lines, state) {
  const table = element("table");
  const rows = lines.filter((text) => !/^\|[-:| ]+\|$/.test(text));
  rows.forEach((text, index) => {
    const line = element("tr");
    for (const cell of text.replace(/^\||\|$/g, "").split("|")) line.append(inline(element(index ? "td" : "th"), cell.trim(), state));
    table.append(line);
  });
  return table;
}

function inline(into, text, state) {
  for (const piece of text.split(/(\*\*[^*]+\*\*|`[^`]+`|\[[^\]]+\]\([^)]+\))/)) {
    const link = /^\[([^\]]+)\]\((\/[^)]*|https?:[^)]*)\)$/.exec(piece);
    if (link) into.append(element("a", link[1], { href: filled(link[2], state) }));
    else if (piece.startsWith("**")) into.append(element("b", piece.slice(2, -2)));
    else if (piece.startsWith("`")) into.append(element("code", piece.slice(1, -1)));
    else into.append(piece);
  }
  return into;
}
