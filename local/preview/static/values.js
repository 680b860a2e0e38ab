// How values are written, coloured and linked: units, value mappings, thresholds, overrides and links of Grafana's
// dashboard JSON, as far as the generated dashboards use them.

// Twelve models have twelve colours.
export const PALETTE = [
  "#1f60c4", "#e0752d", "#705da0", "#0a9396", "#b5179e", "#6d7f00", "#8f3b1b", "#37872d", "#5794f2", "#a0a0a8", "#d6719b", "#2b3a67",
];
// The colours that the dashboards name, in Grafana's light theme.
const NAMED = {
  green: "#56a64b", yellow: "#f2cc0c", red: "#e02f44", blue: "#3274d9", "light-blue": "#5794f2", "dark-blue": "#1250b0",
  orange: "#ff780a", purple: "#a352cc", text: "#24292e", "semi-dark-red": "#c4162a", "semi-dark-orange": "#fa6400", "dark-orange": "#e55400",
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

// Without a number of decimals Grafana writes three significant digits.
function rounded(value, decimals = Number.isInteger(value) ? 0 : Math.max(0, 2 - Math.floor(Math.log(Math.abs(value)) / Math.LN10))) {
  const factor = 10 ** decimals;
  const text = String(Math.round(value * factor) / factor);
  if (decimals === 0 || text.includes("e")) return text;
  const [whole, fraction = ""] = text.split(".");
  return `${whole}.${fraction.padEnd(decimals, "0")}`;
}

const plain = (suffix) => (value, decimals) => `${rounded(value, decimals)}${suffix}`;
const scaled = (factor, suffixes) => (value, decimals) => {
  const power = value === 0 ? 0 : Math.floor(Math.log10(Math.abs(value)) / Math.log10(factor));
  const step = Math.min(Math.max(power, 0), suffixes.length - 1);
  return `${rounded(value / factor ** step, decimals)}${suffixes[step]}`;
};
const perTime = (unit) => scaled(1000, ["", "K", "M", "B", "T"].map((prefix) => `${prefix} ${unit}`));
// Steps are [the limit that values are below, size, name]. Names of more than two characters have a plural.
const duration = (steps) => (value, decimals) => {
  const [, size, name] = steps.find(([limit]) => Math.abs(value) < limit) ?? steps.at(-1);
  const count = value / size;
  return `${rounded(count, decimals)} ${name}${name.length > 2 && Math.abs(count) > 1 ? "s" : ""}`;
};
const MILLISECONDS = [
  [1e3, 1, "ms"], [6e4, 1e3, "s"], [36e5, 6e4, "min"], [864e5, 36e5, "hour"], [31536e6, 864e5, "day"], [Infinity, 31536e6, "year"],
];
const SECONDS = [
  [1e-6, 1e-9, "ns"], [1e-3, 1e-6, "µs"], [1, 1e-3, "ms"], [60, 1, "s"], [3600, 60, "min"], [86400, 3600, "hour"],
  [604800, 86400, "day"], [31536e3, 604800, "week"], [Infinity, 31556900, "year"],
];
const UNITS = {
  none: plain(""),
  percentunit: (value, decimals) => plain("%")(100 * value, decimals),
  short: scaled(1000, ["", " K", " Mil", " Bil", " Tri", " Quadr", " Quint", " Sext", " Sept"]),
  currencyUSD: (value, decimals) =>
    `${value < 0 ? "-" : ""}$${scaled(1000, ["", "K", "M", "B", "T"])(Math.abs(value), decimals)}`,
  bytes: scaled(1024, ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"].map((prefix) => ` ${prefix}B`)),
  cps: perTime("c/s"),
  reqpm: perTime("req/m"),
  ms: duration(MILLISECONDS),
  s: (value, decimals) => (value === 0 ? "0 s" : duration(SECONDS)(value, decimals)),
};

const isoTime = (ms) => new Date(ms).toISOString().replace("T", " ");
export const time = (ms) => isoTime(ms).slice(0, 16);

// A value as text. A time has milliseconds if the values of its column span less than a minute.
export function written(value, config, type, values = []) {
  const mapped = mapping(value, config)?.text;
  if (mapped !== undefined) return mapped;
  if (type === "time" && !isMissing(value)) {
    return isoTime(value).slice(0, values.length > 1 && Math.abs(values.at(-1) - values[0]) < 60_000 ? 23 : 19);
  }
  const number = numberOf(value, config, type);
  if (typeof value === "boolean" || Number.isNaN(number)) return String(value ?? "") || (config.noValue ?? "");
  return (UNITS[config.unit ?? "none"] ?? plain(` ${config.unit}`))(number, config.decimals);
}

// Text that looks like a number is one for Grafana, unless its unit is `string`.
function numberOf(value, config, type) {
  if (isMissing(value) || (config.unit ?? type) === "string") return NaN;
  return Number(value);
}

// Ticks of an axis: thousands as k, and no thousandths as m.
export function axisFormat(config, values) {
  if (config?.unit === "percentunit") return ".2~%";
  return values.some((value) => Math.abs(value) >= 10000) ? "~s" : ",~g";
}

function mapping(value, config) {
  for (const { type, options } of config.mappings ?? []) {
    if (type === "value" && !isMissing(value) && options[value]) return options[value];
    if (type === "special" && (options.match === "empty" ? value === "" : isMissing(value))) return options.result;
  }
  return undefined;
}

export function valueColour(value, config, type) {
  const mapped = mapping(value, config)?.color;
  if (mapped) return colour(mapped);
  const number = numberOf(value, config, type);
  // The first threshold has no value and is that of all values below the second, and of those that are no number.
  return colour(config.thresholds?.steps.findLast((step, index) => index === 0 || number >= step.value)?.color);
}

// The configuration of one field: the panel's defaults, then its overrides by type or by name. A field has two names: its
// column's and the displayed one, which overrides change.
export function fieldConfig(panel, type, column, displayName = () => column) {
  const config = { ...panel.fieldConfig?.defaults, custom: { ...panel.fieldConfig?.defaults?.custom } };
  for (const { matcher, properties } of panel.fieldConfig?.overrides ?? []) {
    const matches = matcher.id === "byType" ? matcher.options === type
      : matcher.id === "byName" && (matcher.options === column || matcher.options === displayName(config));
    if (!matches) continue;
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
