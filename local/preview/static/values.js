// How values are written, coloured and linked: units, value mappings, thresholds, overrides and links of Grafana's
// dashboard JSON, as far as the generated dashboards use them.

// Twelve models have twelve colours.
export const PALETTE = [
  "#1f60c4", "#e0752d", "#705da0", "#0a9396", "#b5179e", "#6d7f00", "#8f3b1b", "#37872d", "#5794f2", "#a0a0a8", "#d6719b", "#2b3a67",
];
const NAMED = {
  green: "#37872d", "dark-green": "#19730e", "semi-dark-green": "#37872d", "light-green": "#73bf69",
  yellow: "#e0b400", "dark-yellow": "#cc9d00", "semi-dark-yellow": "#e0b400",
  orange: "#fa6400", "dark-orange": "#e55400", "semi-dark-orange": "#fa6400",
  red: "#c4162a", "dark-red": "#ad0317", "semi-dark-red": "#c4162a",
  blue: "#1f60c4", "dark-blue": "#1250b0", "semi-dark-blue": "#1f60c4", "light-blue": "#5794f2",
  purple: "#7c2ea3", "dark-purple": "#6a1b9a", "semi-dark-purple": "#8f3bb8",
  gray: "#667085", grey: "#667085", text: "#1f2733", transparent: "transparent", white: "#ffffff",
};

export const colour = (name) => NAMED[name] ?? name;
const channels = (tint) => [1, 3, 5].map((at) => Number.parseInt(tint.slice(at, at + 2), 16));
// Contrast of two colours, from 1 to 21, as WCAG 2.2 defines it.
function contrast(one, other) {
  const [low, high] = [one, other].map((tint) => {
    const [red, green, blue] = channels(tint).map((value) => value / 255).map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  }).sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}
// Dark or white, whichever is easier to read on a colour.
export const inkOn = (tint) => (contrast("#1f2733", tint) >= contrast("#ffffff", tint) ? "#1f2733" : "#ffffff");
// A colour for text on white: the same, or so dark that its contrast is 4.5 (WCAG AA).
export function readable(tint) {
  let result = tint;
  while (contrast(result, "#ffffff") < 4.5) result = `#${channels(result).map((value) => Math.floor(value * 0.95).toString(16).padStart(2, "0")).join("")}`;
  return result;
}
export const isMissing = (value) => value === null || value === undefined || value === "";

const digits = (value, decimals) => {
  const magnitude = Math.abs(value);
  const wanted = decimals ?? (magnitude >= 100 || Number.isInteger(value) ? 0 : magnitude >= 1 ? 2 : 4);
  return value.toLocaleString("en-GB", { maximumFractionDigits: wanted, minimumFractionDigits: decimals ?? 0 });
};
const scaled = (value, steps, decimals) => {
  if (value === 0) return `0${steps.find((step) => step[1] === 1)[2]}`;
  const step = steps.findLast(([from]) => Math.abs(value) >= from) ?? steps[0];
  return `${digits(value / step[1], decimals ?? (step[1] === 1 ? undefined : 1))}${step[2]}`;
};
const SECONDS = [[0, 0.001, " ms"], [1, 1, " s"], [120, 60, " min"], [7200, 3600, " h"], [172800, 86400, " d"]];
const UNITS = {
  percentunit: (value, decimals) => `${digits(value * 100, decimals ?? (Math.abs(value) < 0.1 ? 2 : 1))} %`,
  percent: (value, decimals) => `${digits(value, decimals ?? 1)} %`,
  s: (value, decimals) => scaled(value, SECONDS, decimals),
  ms: (value, decimals) => scaled(value / 1000, SECONDS, decimals),
  short: (value, decimals) => scaled(value, [[0, 1, ""], [1e4, 1e3, " k"], [1e6, 1e6, " M"], [1e9, 1e9, " G"]], decimals),
  bytes: (value, decimals) => scaled(value, [[0, 1, " B"], [1024, 1024, " KiB"], [2 ** 20, 2 ** 20, " MiB"], [2 ** 30, 2 ** 30, " GiB"]], decimals),
  reqps: (value, decimals) => `${digits(value, decimals)} req/s`,
  ops: (value, decimals) => `${digits(value, decimals)} ops/s`,
  none: digits,
  dateTimeAsIso: (value) => time(value),
  dateTimeFromNow: (value) => time(value),
};

export const time = (ms) => new Date(ms).toISOString().slice(0, 16).replace("T", " ");

export function written(value, config, type) {
  if (isMissing(value) || Number.isNaN(value)) return "–";
  const mapped = mapping(value, config);
  if (mapped?.text) return mapped.text;
  if (type === "time") return time(value);
  if (typeof value !== "number") return String(value);
  const unit = config?.unit ?? "short";
  if (unit in UNITS) return UNITS[unit](value, config?.decimals);
  if (unit.startsWith("suffix:")) return `${digits(value, config?.decimals)} ${unit.slice(7)}`;
  return `${digits(value, config?.decimals)} ${unit}`;
}

// Ticks of an axis: thousands as k, and no thousandths as m.
export function axisFormat(config, values) {
  if (config?.unit === "percentunit") return ".2~%";
  return values.some((value) => Math.abs(value) >= 10000) ? "~s" : ",~g";
}

function mapping(value, config) {
  for (const each of config?.mappings ?? []) {
    if (each.type === "value" && String(value) in each.options) return each.options[String(value)];
    if (each.type === "special" && each.options.match === "null" && isMissing(value)) return each.options.result;
    const { from, to, result } = each.options ?? {};
    if (each.type === "range" && typeof value === "number" && value >= (from ?? -Infinity) && value <= (to ?? Infinity)) return result;
  }
  return undefined;
}

export function valueColour(value, config) {
  const mapped = mapping(value, config);
  if (mapped?.color) return colour(mapped.color);
  if (config?.color?.mode === "fixed") return colour(config.color.fixedColor);
  if (typeof value !== "number") return undefined;
  const steps = config?.thresholds?.steps ?? [];
  return colour(steps.findLast((step) => step.value === null || step.value === undefined || value >= step.value)?.color);
}

// The configuration of one field: the panel's defaults, then its overrides by type or by name. A field has two names:
// its column's and the one that Grafana would show without overrides.
export function fieldConfig(panel, names, type) {
  const config = { ...panel.fieldConfig?.defaults, custom: { ...panel.fieldConfig?.defaults?.custom } };
  for (const { matcher, properties } of panel.fieldConfig?.overrides ?? []) {
    const meant = matcher.id === "byName" ? names.includes(matcher.options)
      : matcher.id === "byType" ? matcher.options === type
      : matcher.id === "byRegexp" ? names.some((name) => new RegExp(matcher.options.replace(/^\/(.*)\/$/, "$1")).test(name))
      : false;
    if (!meant) continue;
    for (const { id, value } of properties) {
      if (id.startsWith("custom.")) config.custom[id.slice(7)] = value;
      else config[id] = value;
    }
  }
  return config;
}

// A link's address with range, variables and the fields of a row filled in, as Grafana does it.
export function filled(url, state, row) {
  const pair = (key, value) => `${encodeURIComponent(key)}=${encodeURIComponent(value)}`;
  const variables = () => Object.entries(state.variables).flatMap(([name, value]) => [value].flat().map((each) => pair(`var-${name}`, each)));
  return url
    .replaceAll(/\$\{__url_time_range\}|\$__url_time_range/g, [pair("from", state.from), pair("to", state.to)].join("&"))
    .replaceAll(/\$\{__all_variables\}|\$__all_variables/g, () => variables().join("&"))
    .replaceAll(/\$\{__data\.fields(?:\.([^}:[\]]+)|\[["']?([^\]"']+)["']?\])(?::\w+)?\}/g, (_, a, b) => encodeURIComponent(row?.[a ?? b] ?? ""))
    .replaceAll(/\$\{__field\.labels(?:\.([^}:[\]]+)|\[["']?([^\]"']+)["']?\])(?::\w+)?\}/g, (_, a, b) => encodeURIComponent(row?.[a ?? b] ?? ""))
    .replaceAll(/\$\{__value\.(?:raw|text)(?::\w+)?\}/g, () => encodeURIComponent(row?.__value ?? ""))
    .replaceAll(/\$\{__from\}/g, encodeURIComponent(state.from))
    .replaceAll(/\$\{__to\}/g, encodeURIComponent(state.to))
    .replaceAll(/\$\{(\w+):queryparam\}/g, (whole, name) => [state.variables[name] ?? []].flat().map((each) => pair(`var-${name}`, each)).join("&"))
    .replaceAll(/\$\{(\w+)(?::\w+)?\}/g, (whole, name) => (name in state.variables ? encodeURIComponent([state.variables[name]].flat().join(",")) : whole));
}

// Text with variables filled in, for titles and text panels.
export function substituteVariables(text, state) {
  return (text ?? "").replaceAll(/\$\{(\w+)(?::\w+)?\}|\$(\w+)/g, (whole, a, b) => {
    const value = state.variables[a ?? b];
    return value === undefined ? whole : [value].flat().map((each) => (each === "$__all" ? "All" : each)).join(", ");
  });
}
