// One function per panel type that the dashboards use; each draws `frames` into `body`. A type that is not here is an
// error on the page, so that a dashboard cannot show less here than in Grafana unnoticed.

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
  gauge: drawStat,
  table: drawTable,
  "state-timeline": drawStates,
  "status-history": drawStates,
  heatmap: drawHeatmap,
  barchart: drawBars,
  text: drawText,
};

export function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

const size = (frame) => frame.columns[0]?.values.length ?? 0;
const columns = (frames) => frames.flatMap((frame) => frame.columns);
const rowOf = (frame, index) => Object.fromEntries(frame.columns.map((column) => [column.name, column.values[index]]));

// Long rows to one series per number column and set of labels, as the data source's format 0 does it. Names follow
// Grafana: where the panel sets none, the refId of the query (if there are several), the column and the labels.
export function series(frames, panel, endMs) {
  const refIds = (panel.targets ?? []).filter((target) => !target.hide).map((target) => target.refId);
  const allSeries = frames.flatMap((frame, index) => seriesOf(frame).map((each) => ({ ...each, refId: refIds[index] })));
  const labelNames = new Set(allSeries.flatMap((each) => Object.keys(each.labels)));
  for (const each of allSeries) {
    const labels = labelNames.size === 1 ? Object.values(each.labels).join("") : writtenLabels(each.labels);
    const byDefault = [frames.length > 1 ? each.refId : "", each.field, labels].filter(Boolean).join(" ");
    each.config = fieldConfig(panel, [each.field, byDefault], "number");
    each.name = each.config.displayName ? displayed(each) : byDefault;
  }
  return joined(allSeries, endMs);
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
    const { spanNulls, insertNulls } = each.config.custom;
    const all = times.get(each.refId).map((moment) => [moment, values.get(moment) ?? null]);
    const points = withoutShortGaps(withLongGaps(all, insertNulls, endMs), spanNulls);
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

function seriesOf(frame) {
  const at = frame.columns.find((column) => column.type === "time");
  if (!at) return [];
  const labels = frame.columns.filter((column) => column.type === "string");
  return frame.columns.filter((column) => column.type === "number" || column.type === "boolean").flatMap((number) => {
    const groups = new Map();
    at.values.forEach((moment, index) => {
      const values = labels.map((label) => label.values[index]);
      const key = JSON.stringify(values);
      if (!groups.has(key)) {
        const names = Object.fromEntries(labels.map((label, i) => [label.name, values[i]]));
        groups.set(key, { field: number.name, labels: names, x: [], y: [] });
      }
      groups.get(key).x.push(moment);
      groups.get(key).y.push(number.values[index]);
    });
    return [...groups.values()];
  });
}

function writtenLabels(labels) {
  const parts = Object.keys(labels).sort().map((name) => `${name}="${labels[name]}"`);
  return parts.length > 0 ? `{${parts.join(", ")}}` : "";
}

const displayed = (each) => each.config.displayName
  .replaceAll(/\$\{__field\.labels(?:\.([^}\]]+)|\["([^"]+)"\])\}/g, (_, a, b) => each.labels[a ?? b] ?? "")
  .replaceAll("${__field.name}", each.field);

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
  return { type: "date", range: [state.fromMs, state.toMs], showgrid: true };
}

function drawTimeseries(body, panel, frames, state, notes) {
  const allSeries = series(frames, panel, state.toMs);
  const base = fieldConfig(panel, [], "number");
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
      customdata: each.y.map((value) => written(value, config)),
      hovertemplate: "%{x|%Y-%m-%d %H:%M}  %{customdata}<extra>%{fullData.name}</extra>",
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
      marker: { size: each.x.length < 3 ? 6 : 3, color: tint },
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

function drawStat(body, panel, frames, state) {
  const holder = element("div", undefined, { class: "stats" });
  const wanted = panel.options?.reduceOptions ?? {};
  const chosen = wanted.fields ? new RegExp(wanted.fields.replace(/^\/(.*)\/$/, "$1")) : undefined;
  const shown = [];
  for (const frame of frames) {
    const labels = frame.columns.filter((column) => column.type === "string");
    for (const column of frame.columns) {
      const isChosen = chosen ? chosen.test(column.name) : column.type === "number" || (frame.columns.length === 1);
      if (!isChosen) continue;
      const rows = wanted.values ? [...column.values.keys()] : [column.values.findLastIndex((value) => !isMissing(value))];
      for (const index of rows) {
        const name = wanted.values && labels.length > 0 && !chosen ? labels.map((label) => label.values[index]).join(" ") : column.name;
        shown.push({ name, field: column.name, type: column.type, value: index < 0 ? null : column.values[index], row: index < 0 ? {} : rowOf(frame, index) });
      }
    }
  }
  if (shown.length === 0) return nothing(body, panel);
  for (const each of shown) {
    const config = fieldConfig(panel, [each.field, each.name], each.type);
    const made = element("div", undefined, { class: "stat" });
    const value = element("b", isMissing(each.value) ? (config.noValue ?? "–") : written(each.value, config, each.type));
    const mode = panel.options?.colorMode;
    const tint = mode === "none" ? undefined : valueColour(each.value, config);
    if (tint && mode === "background") Object.assign(holder.style, { background: tint, color: inkOn(tint) });
    else if (tint) value.style.color = readable(tint);
    made.append(linked(value, config, state, each.row, each.value));
    if (shown.length > 1 || panel.options?.textMode === "value_and_name") made.append(element("span", config.displayName ?? each.name));
    holder.append(made);
  }
  body.append(holder);
}

function drawTable(body, panel, frames, state) {
  const frame = frames[0];
  if (!frame || size(frame) === 0) return nothing(body, panel);
  const shown = frame.columns
    .map((column) => ({ ...column, config: fieldConfig(panel, [column.name], column.type) }))
    .filter((column) => !column.config.custom?.hidden && !column.config.custom?.hideFrom?.viz);
  const table = element("table");
  const head = element("tr");
  for (const column of shown) head.append(element("th", column.config.displayName ?? column.name, { title: column.config.description ?? "" }));
  table.append(head);
  for (let index = 0; index < size(frame); index += 1) {
    const row = rowOf(frame, index);
    const line = element("tr");
    for (const { name, type, values, config } of shown) {
      const cell = element("td", undefined, type === "number" ? { class: "number" } : {});
      cell.append(linked(element("span", written(values[index], config, type)), config, state, row, values[index]));
      const kind = config.custom?.cellOptions?.type ?? "auto";
      const tint = kind.startsWith("color") ? valueColour(values[index], config) : undefined;
      if (tint && kind === "color-background") Object.assign(cell.style, { background: tint, color: inkOn(tint) });
      else if (tint) cell.style.color = readable(tint);
      line.append(cell);
    }
    table.append(line);
  }
  body.append(table);
}

function linked(inner, config, state, row, value) {
  const link = config.links?.[0];
  if (!link) return inner;
  const made = element("a", undefined, { href: filled(link.url, state, { ...row, __value: value }), title: link.title ?? "" });
  made.append(inner);
  return made;
}

function drawStates(body, panel, frames, state) {
  const allSeries = states(frames, panel, state.toMs);
  if (allSeries.length === 0) return nothing(body, panel);
  const traces = new Map();
  for (const each of allSeries) {
    const { config } = each;
    for (const { from, to, value } of runsOfValues(each, state.toMs)) {
      if (isMissing(value)) continue;
      const text = written(value, config);
      if (!traces.has(text)) {
        traces.set(text, { type: "bar", orientation: "h", name: text, x: [], y: [], base: [], customdata: [], marker: { color: valueColour(value, config) ?? styled("--faint"), line: { width: 0 } }, hovertemplate: "%{y}  %{customdata}<extra>%{fullData.name}</extra>" });
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
    xaxis: timeAxis(state), yaxis: { automargin: true, autorange: "reversed", type: "category" },
  });
}

// State timelines show text too: one series per set of labels, its value in the last column.
function states(frames, panel, endMs) {
  const numeric = series(frames, panel, endMs);
  if (numeric.length > 0) return numeric;
  return frames.flatMap((frame) => {
    const at = frame.columns.find((column) => column.type === "time");
    const texts = frame.columns.filter((column) => column.type === "string");
    return at ? texts.map((column) => ({ name: column.name, config: fieldConfig(panel, [column.name], "string"), x: at.values, y: column.values })) : [];
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
  // The plugin orders the series, and so the rows, by their labels.
  const rows = series(frames, panel, state.toMs).sort((a, b) => (writtenLabels(a.labels) < writtenLabels(b.labels) ? -1 : 1));
  if (rows.length === 0) return nothing(body, panel);
  const moments = [...new Set(rows.flatMap((row) => row.x))].sort((a, b) => a - b);
  const z = rows.map((row) => {
    const values = new Map(row.x.map((moment, index) => [moment, row.y[index]]));
    return moments.map((moment) => values.get(moment) ?? null);
  });
  const { config } = rows[0];
  drawChart(body, [{
    type: "heatmap", x: moments, y: rows.map((row) => row.name), z, colorscale: "Blues", reversescale: true,
    customdata: z.map((values) => values.map((value) => written(value, config))),
    hovertemplate: "%{x|%Y-%m-%d %H:%M}  %{y}  %{customdata}<extra></extra>", colorbar: { thickness: 8, tickformat: axisFormat(config, z.flat()) },
  }], { margin: { ...LAYOUT.margin, l: 110 }, xaxis: timeAxis(state), yaxis: { type: "category", automargin: true } }, false);
}

function drawBars(body, panel, frames) {
  const frame = frames[0];
  if (!frame || size(frame) === 0) return nothing(body, panel);
  const names = frame.columns.find((column) => column.name === panel.options?.xField) ?? frame.columns.find((column) => column.type !== "number");
  const base = fieldConfig(panel, [], "number");
  const sideways = panel.options?.orientation === "horizontal";
  const bars = frame.columns.filter((column) => column.type === "number")
    .map((column) => ({ ...column, config: fieldConfig(panel, [column.name], "number") }));
  const tints = distinctTints(bars.map((column) => column.config));
  const traces = bars.map(({ config, ...column }, index) => {
    const [x, y] = sideways ? [column.values, names.values] : [names.values, column.values];
    return {
      type: "bar", name: config.displayName ?? column.name, x, y, orientation: sideways ? "h" : "v", marker: { color: tints[index] }, opacity: 0.85,
      customdata: column.values.map((value) => written(value, config)), hovertemplate: "%{customdata}<extra>%{fullData.name}</extra>",
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

// The `noValue` of a table is the text of an empty cell.
function nothing(body, panel) {
  const reason = panel.type === "table" ? undefined : panel.fieldConfig?.defaults?.noValue;
  body.append(element("p", reason ?? "No data in this range.", { class: "none" }));
}
