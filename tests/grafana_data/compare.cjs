// What Grafana's published code and the preview make of the same panels and rows.
//
// Reads {preview, fromMs, toMs, limits, charts, cases: [{panel, frames}]} as JSON from standard input. `preview` is the folder of the
// preview's modules, a panel is that of a dashboard's JSON, frames are the rows of its queries as the preview's server sends
// them, limits the names of colours, and charts panels. Writes {palette, limits, axes, results}: the colours of Grafana's palette
// of series and of the names, the texts beside the lines of each chart's axis for many distances of them, and
// [{grafana, preview}] in the order of the cases, in one form for each panel type:
//
// - time series, state timelines, heatmaps: [{name, color, points: [[time, value, text]]}], one for each series;
// - stat panels: [{title, text, color}], one for each value;
// - tables and bar charts: [{title, texts, colors}], one for each column.

const { pathToFileURL } = require("node:url");

// All that the package needs of a browser.
globalThis.navigator ??= { language: "en-US", languages: ["en-US"] };
// What the preview's modules need of one: the colours of its style sheet, which no result contains.
globalThis.document ??= { documentElement: {} };
globalThis.getComputedStyle ??= () => ({ getPropertyValue: () => "" });
const grafana = require("@grafana/data");

const theme = grafana.createTheme({ colors: { mode: "light" } });
const POWERS = [-5, -4, -3, -2, -1, 0, 1].flatMap((exponent) => [1, 2, 5].map((factor) => Number(`${factor}e${exponent}`)));
const STEPS = [-4, -3, -2, -1, 0, 1, 2, 3, 4, 5].flatMap((exponent) => [1, 2, 2.5, 5].map((factor) => Number(`${factor}e${exponent}`)));
const SERIES = ["timeseries", "state-timeline", "heatmap"];

// Grafana registers these properties in its application, not in the package.
const isNumber = (field) => field.type === grafana.FieldType.number;
const always = () => true;
const identity = grafana.identityOverrideProcessor;
const property = (id, process, shouldApply = always, settings = {}) => ({ id, path: id, name: id, process, shouldApply, settings });
const PROPERTIES = [
  property("displayName", grafana.displayNameOverrideProcessor, always, { expandTemplateVars: true }),
  property("unit", grafana.unitOverrideProcessor),
  property("min", grafana.numberOverrideProcessor, isNumber),
  property("max", grafana.numberOverrideProcessor, isNumber),
  property("decimals", grafana.numberOverrideProcessor, isNumber),
  property("noValue", grafana.stringOverrideProcessor),
  property("color", identity),
  property("links", grafana.dataLinksOverrideProcessor),
  property("mappings", grafana.valueMappingsOverrideProcessor, (field) => field.type !== grafana.FieldType.time),
  property("thresholds", grafana.thresholdsOverrideProcessor),
];
grafana.standardFieldConfigEditorRegistry.setInit(() => PROPERTIES);

function withDefaults(panel) {
  const { defaults, overrides } = panel.fieldConfig;
  const names = new Set(Object.keys(defaults.custom ?? {}));
  for (const { id } of overrides.flatMap((override) => override.properties)) if (id.startsWith("custom.")) names.add(id.slice(7));
  const plugin = new grafana.PanelPlugin(null).useFieldConfig({
    useCustomConfig: (builder) => names.forEach((name) => builder.addCustomEditor({ ...property(name, identity), override: null })),
  });
  const { options, fieldConfig } = grafana.getPanelOptionsWithDefaults({
    plugin, currentOptions: panel.options, currentFieldConfig: structuredClone(panel.fieldConfig), isAfterPluginChange: false,
  });
  return { options, fieldConfig, registry: plugin.fieldConfigRegistry };
}

// The application fills in variables; the dashboards' names of series use labels only.
const replaceVariables = (text, scoped) => text.replace(
  /\$\{__field\.labels\.([^}]+)\}/g, (_, label) => scoped.__dataContext.value.field.labels?.[label] ?? "",
);

// Format 0 of the data source: text becomes labels, and each column one field for each set of labels, over all times. The
// plugin does this in Go (LongToWide of grafana-plugin-sdk-go).
function wide({ columns }) {
  const time = columns.find((column) => column.type === "time");
  const factors = columns.filter((column) => column.type === "string");
  if (factors.length === 0) return columns;
  const times = [...new Set(time.values)];
  const fields = [];
  for (const column of columns.filter((each) => each.type === "number")) {
    time.values.forEach((moment, row) => {
      const labels = Object.fromEntries(factors.map((factor) => [factor.name, factor.values[row] ?? ""]));
      let field = fields.find((each) => each.name === column.name && factors.every(({ name }) => each.labels[name] === labels[name]));
      if (!field) fields.push(field = { name: column.name, type: "number", labels, values: times.map(() => null) });
      field.values[times.indexOf(moment)] = column.values[row];
    });
  }
  const keys = (field) => [field.name, ...factors.map(({ name }) => field.labels[name])];
  const compare = (a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b));
  fields.sort((a, b) => keys(a).map((key, index) => compare(key, keys(b)[index])).find((order) => order !== 0) ?? 0);
  return [{ ...time, values: times }, ...fields];
}

function dataFrames(panel, frames) {
  return frames.flatMap((frame, index) => {
    const { refId, format } = panel.targets[index];
    if (format === 0 && frame.columns[0].values.length === 0) return [];
    const fields = format === 0 ? wide(frame) : frame.columns;
    return [grafana.createDataFrame({ name: refId, refId, fields: fields.map((field) => ({ ...field, config: {} })) })];
  });
}

function fromGrafana({ panel, frames }, range) {
  const { options, fieldConfig, registry } = withDefaults(panel);
  const data = grafana.applyFieldOverrides({
    data: dataFrames(panel, frames), fieldConfig, fieldConfigRegistry: registry, replaceVariables, theme, timeZone: "utc",
  });
  const text = (field, value) => grafana.formattedValueToString(field.display(value));
  const title = (field, frame) => grafana.getFieldDisplayName(field, frame, data);
  if (panel.type === "stat") {
    const values = grafana.getFieldDisplayValues({ fieldConfig, reduceOptions: options.reduceOptions, replaceVariables, theme, data, timeZone: "utc" });
    return values.filter((value) => value.view).map(({ display }) => (
      { title: display.title, text: grafana.formattedValueToString(display), color: grafana.colorManipulator.asHexString(display.color) }
    ));
  }
  if (!SERIES.includes(panel.type)) {
    return data[0].fields.map((field) => ({
      title: title(field, data[0]), texts: field.values.map((value) => text(field, value)),
      colors: panel.type === "table" ? field.values.map((value) => field.display(value).color) : [],
    }));
  }
  const nulled = data.map((frame) => grafana.nullToValue(grafana.applyNullInsertThreshold({
    frame, refFieldPseudoMin: range.fromMs, refFieldPseudoMax: range.toMs,
  })));
  const joined = grafana.outerJoinDataFrames({ frames: nulled, keepOriginIndices: true });
  return (joined?.fields ?? []).filter(isNumber).map((field) => {
    const { frameIndex, fieldIndex } = field.state.origin;
    const origin = data[frameIndex].fields[fieldIndex];
    const own = new Set(nulled[frameIndex].fields[0].values);
    const points = joined.fields[0].values.map((moment, row) => [moment, Number.isFinite(field.values[row]) ? field.values[row] : null]);
    const others = points.filter(([moment, value]) => !own.has(moment) && value !== null);
    if (others.length > 0) throw new Error(`${origin.name} has values at times of other queries`);
    return {
      name: title(origin, data[frameIndex]), color: origin.config.color?.mode === "fixed" ? grafana.getFieldSeriesColor(origin, theme).color : null,
      points: points.filter(([moment]) => own.has(moment)).map(([moment, value]) => [moment, value, text(origin, value)]),
    };
  });
}

function fromPreview({ panel, frames }, range, { series, stats, tableColumns }, { colour, valueColour, written }) {
  if (panel.type === "stat") {
    return stats(frames, panel).map(({ title, value, config }) => (
      { title, text: written(value, config, "number"), color: valueColour(value, config, "number") }
    ));
  }
  if (!SERIES.includes(panel.type)) {
    return tableColumns(frames[0], panel).map(({ title, type, values, config }) => ({
      title, texts: values.map((value) => written(value, config, type, values)),
      colors: panel.type === "table" ? values.map((value) => valueColour(value, config, type)) : [],
    }));
  }
  return series(frames, panel, range.toMs).map(({ name, config, x, y }) => ({
    name, color: config.color?.mode === "fixed" ? colour(config.color.fixedColor) : null,
    points: x.map((moment, index) => [moment, y[index], written(y[index], config, "number")]),
  }));
}

// Nulls before the first value, and further nulls after a null, do not change what is drawn.
function withoutRepeatedNulls(result) {
  for (const each of result) {
    if (each.points) each.points = each.points.filter(([, value], index, all) => value !== null || (index > 0 && all[index - 1][1] !== null));
    if (each.color) each.color = each.color.toLowerCase();
    if (each.colors) each.colors = each.colors.map((color) => color.toLowerCase());
  }
  return result;
}

// What an axis of a panel writes beside its lines, by the distance of them: linear axes have their ticks at its multiples,
// logarithmic ones at 1, 2 and 5 times powers of ten. Grafana's chart, not in the package, asks for the digits of the distance.
function axes(panel) {
  const { fieldConfig, registry } = withDefaults(panel);
  const frame = grafana.createDataFrame({ fields: [{ name: "value", type: "number", values: [0] }] });
  const [{ fields: [field] }] = grafana.applyFieldOverrides({
    data: [frame], fieldConfig, fieldConfigRegistry: registry, replaceVariables, theme, timeZone: "utc",
  });
  const isLogarithmic = fieldConfig.defaults.custom.scaleDistribution?.type === "log";
  return STEPS.map((step) => {
    const ticks = isLogarithmic ? POWERS.filter((power) => power <= step * 10) : [1, 2, 3, 4, 5].map((n) => grafana.roundDecimals(n * step, 6));
    const digits = grafana.guessDecimals(grafana.roundDecimals(step, 6));
    return ticks.map((tick) => grafana.formattedValueToString(field.display(tick, digits > 0 ? digits : undefined)));
  });
}

async function main() {
  let input = "";
  for await (const piece of process.stdin) input += piece;
  const { preview, cases, limits, charts, ...range } = JSON.parse(input);
  const module = (name) => import(pathToFileURL(`${preview}/${name}.js`));
  const [panels, values] = [await module("panels"), await module("values")];
  const results = cases.map(({ panel, frames }) => {
    const each = { panel, frames: panels.decoded(frames) };
    return {
      grafana: withoutRepeatedNulls(fromGrafana(each, range)),
      preview: withoutRepeatedNulls(fromPreview(each, range, panels, values)),
    };
  });
  const hexadecimal = (name) => theme.visualization.getColorByName(name).toLowerCase();
  const [palette, ofLimits] = [theme.visualization.palette, limits].map((names) => names.map(hexadecimal));
  process.stdout.write(JSON.stringify({ results, palette, limits: ofLimits, axes: charts.map(axes) }));
}

main();
