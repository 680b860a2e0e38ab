// The page of one dashboard: reads the generated JSON, requests variables, annotations and panels, and draws them.
// The URL holds the whole state, as in Grafana: /d/UID?from=…&to=…&var-model=…

import { element } from "./elements.js";
import { RENDERERS, decoded } from "./panels.js";
import { filled, time, substituteVariables } from "./values.js";

const QUICK = ["now-1h", "now-6h", "now-24h", "now-7d", "now-30d", "now-90d", "now-180d"];
const byId = (id) => document.getElementById(id);
const uid = decodeURIComponent(location.pathname.split("/")[2]);
const address = new URLSearchParams(location.search);

async function request(path, body) {
  const options = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(path, options);
  const result = await answer.json();
  if (!answer.ok) throw new Error(result.error);
  return result;
}

function requestedVariables() {
  const variables = {};
  for (const [key, value] of address) {
    if (!key.startsWith("var-")) continue;
    const name = key.slice(4);
    variables[name] = name in variables ? [variables[name], value].flat() : value;
  }
  return variables;
}

function go(changes) {
  for (const [key, value] of Object.entries(changes)) {
    address.delete(key);
    for (const each of [value].flat()) address.append(key, each);
  }
  location.search = address.toString();
}

// Links carry milliseconds, people read dates; an unedited end keeps its original value.
const readable = (end) => (/^\d+$/.test(end) ? time(Number(end)) : end);

function drawRange(state) {
  for (const end of ["from", "to"]) byId(end).value = readable(state[end]);
  const quick = byId("quick");
  quick.append(element("option", "…", { value: "" }));
  for (const from of QUICK) quick.append(element("option", `last ${from.slice(4)}`, { value: from }));
  if (state.to === "now" && QUICK.includes(state.from)) quick.value = state.from;
  quick.addEventListener("change", () => quick.value && go({ from: quick.value, to: "now" }));
  byId("range").addEventListener("submit", (event) => {
    event.preventDefault();
    const typed = (end) => (byId(end).value === readable(state[end]) ? state[end] : byId(end).value.trim());
    go({ from: typed("from"), to: typed("to") });
  });
}

function drawVariables(variables, state) {
  for (const variable of variables) {
    if (variable.hide === 2) continue;
    byId("variables").append(variable.multi ? choices(variable, state) : choice(variable, state));
  }
}

function choice(variable, state) {
  const label = element("label", `${variable.label} `);
  const select = element("select", undefined, { "data-variable": variable.name });
  for (const option of variable.options) {
    const made = element("option", option.text, { value: option.value });
    made.selected = option.value === state.variables[variable.name];
    select.append(made);
  }
  select.addEventListener("change", () => go({ [`var-${variable.name}`]: select.value }));
  label.append(select);
  return label;
}

// Several values: a list of boxes that opens, shown when it is closed again.
function choices(variable, state) {
  const chosen = [state.variables[variable.name]].flat();
  const texts = variable.options.filter((option) => chosen.includes(option.value)).map((option) => option.text);
  const details = element("details", undefined, { "data-variable": variable.name });
  details.append(element("summary", `${variable.label}: ${texts.slice(0, 3).join(", ")}${texts.length > 3 ? ", …" : ""}`));
  const list = element("div");
  for (const option of variable.options) {
    const label = element("label");
    const box = element("input", undefined, { type: "checkbox", value: option.value });
    box.checked = chosen.includes(option.value);
    label.append(box, ` ${option.text}`);
    list.append(label);
  }
  details.append(list);
  details.addEventListener("toggle", () => {
    const picked = [...list.querySelectorAll("input:checked")].map((box) => box.value);
    if (!details.open && picked.join("\n") !== chosen.join("\n")) go({ [`var-${variable.name}`]: picked });
  });
  return details;
}

const short = (title) => title.replace(/^Barograph \/ /, "");

function drawPages(pages, state) {
  for (const page of pages) {
    const link = element("a", short(page.title), { href: filled(`/d/${page.uid}?\${__url_time_range}&\${__all_variables}`, state) });
    if (page.uid === uid) link.setAttribute("aria-current", "page");
    byId("pages").append(link);
  }
}

const TITLES = { page: "Page", ticket: "Ticket", pending: "Pending" };

async function drawIncidents(body, panel, state) {
  const incidents = await request("/api/incidents", queryBody(state));
  for (const incident of incidents) body.append(incidentLine(incident));
  if (incidents.length === 0) body.append(element("p", panel.fieldConfig.defaults.noValue, { class: "none" }));
}

function incidentLine(incident) {
  const line = element("details", undefined, { class: incident.severity });
  const summary = element("summary");
  summary.append(element("b", TITLES[incident.severity]), ` ${incident.title} `);
  if (incident.severity !== "pending") summary.append(element("span", `firing since ${incident.before ? "before " : ""}${time(incident.since)}`, { class: "since" }));
  const count = incident.alerts.length;
  summary.append(` ${count} ${count === 1 ? "alert" : "alerts"} `);
  // By default the folder of runbooks is a path in Grafana, which this server does not have: their names are enough.
  summary.append(/^https?:/.test(incident.runbook) ? element("a", "runbook", { href: incident.runbook }) : element("code", `runbook ${incident.runbook.replace(/.*\/|\.html$/g, "")}`));
  line.append(summary);
  for (const alert of incident.alerts) {
    line.append(element("a", `${alert.state}: ${alert.summary}`, { "data-state": alert.state, href: alert.href }));
  }
  return line;
}

function place(made, grid, down) {
  made.style.gridColumn = `${grid.x + 1} / span ${grid.w}`;
  made.style.gridRow = `${grid.y + 1 + down} / span ${grid.h}`;
}

async function drawPanel(panel, state, notes, down) {
  const card = element("article", undefined, { class: "panel", "data-panel": panel.id, "data-type": panel.type, "data-state": "loading" });
  place(card, panel.gridPos, down);
  const text = substituteVariables(panel.title, state);
  // A narrow panel cuts its title off, so the tooltip repeats it.
  const title = element("h2", undefined, { title: [text, panel.description].filter(Boolean).join("\n\n") });
  const link = panel.links?.[0];
  title.append(link ? element("a", text, { href: filled(link.url, state) }) : text);
  const body = element("div", undefined, { class: "body" });
  card.append(title, body);
  byId("panels").append(card);
  try {
    if (panel.type === "alertlist") await drawIncidents(body, panel, state);
    else {
      const draw = RENDERERS[panel.type];
      if (!draw) throw new Error(`Panels of type ${panel.type} are not drawn here.`);
      const { frames } = panel.targets?.length ? await request(`/api/pages/${encodeURIComponent(uid)}/panels/${panel.id}`, queryBody(state)) : { frames: [] };
      draw(body, panel, decoded(frames), state, notes);
    }
    card.dataset.state = "drawn";
  } catch (error) {
    body.replaceChildren(element("p", error.message, { class: "failed" }));
    card.dataset.state = "failed";
  }
}

// A repeated panel: a copy for each value of its variable, side by side, each with that value. As in Grafana, there is one
// copy with the title All if there are none.
function copies(panel, state) {
  if (!panel.repeat) return [[panel, state]];
  const chosen = [state.variables[panel.repeat] ?? []].flat();
  const all = (state.options[panel.repeat] ?? []).filter((value) => value !== "$__all");
  const values = chosen.includes("$__all") ? all : chosen;
  const w = 24 / Math.max(values.length, 1);
  return (values.length > 0 ? values : ["$__all"]).map((value, index) => [
    { ...panel, gridPos: { ...panel.gridPos, x: index * w, w } },
    { ...state, variables: { ...state.variables, [panel.repeat]: value } },
  ]);
}

const queryBody = (state) => ({ from: state.fromMs, to: state.toMs, variables: state.variables });

// Rows that are closed hold their panels inside; opening one moves what is below it down.
async function drawPanels(panels, state, notes) {
  let down = 0;
  const work = [];
  for (const panel of panels) {
    if (panel.type !== "row") {
      work.push(...copies(panel, state).map(([copy, scoped]) => drawPanel(copy, scoped, notes, down)));
      continue;
    }
    const inner = panel.panels ?? [];
    const opened = !panel.collapsed || address.get("open")?.split(",").includes(String(panel.id))
      || inner.some((each) => String(each.id) === address.get("viewPanel"));
    const button = element("button", `${opened ? "▾" : "▸"} ${substituteVariables(panel.title, state)}`, { class: "row", "data-row": panel.id });
    button.addEventListener("click", () => toggle(panel.id));
    place(button, { ...panel.gridPos, x: 0, w: 24, h: 1 }, down);
    byId("panels").append(button);
    if (!opened || inner.length === 0) continue;
    const top = Math.min(...inner.map((each) => each.gridPos.y));
    const shift = panel.gridPos.y + 1 - top;
    work.push(...inner.flatMap((each) => copies(each, state)).map(([copy, scoped]) => drawPanel(copy, scoped, notes, down + shift)));
    if (panel.collapsed) down += Math.max(...inner.map((each) => each.gridPos.y + each.gridPos.h)) - top;
  }
  await Promise.all(work);
}

function toggle(id) {
  const open = new Set((address.get("open") ?? "").split(",").filter(Boolean));
  if (!open.delete(String(id))) open.add(String(id));
  go({ open: [...open].join(",") });
}

async function show() {
  const [page, pages] = await Promise.all([request(`/api/pages/${encodeURIComponent(uid)}`), request("/api/pages")]);
  document.title = page.title;
  byId("title").textContent = "Barograph";
  byId("description").textContent = page.description ?? "";
  const range = { from: address.get("from") ?? page.time?.from ?? "now-24h", to: address.get("to") ?? page.time?.to ?? "now" };
  const resolved = await request(`/api/pages/${encodeURIComponent(uid)}/variables`, { ...range, variables: requestedVariables() });
  const state = { ...range, fromMs: resolved.from, toMs: resolved.to, variables: resolved.values, options: {} };
  for (const { name, options } of resolved.variables) state.options[name] = options.map((option) => option.value);
  drawRange(state);
  drawVariables(resolved.variables, state);
  drawPages(pages, state);
  const notes = await request(`/api/pages/${encodeURIComponent(uid)}/annotations`, queryBody(state));
  await drawPanels(page.panels, state, notes);
  // Grafana shows only this panel.
  document.querySelector(`[data-panel="${CSS.escape(address.get("viewPanel") ?? "")}"]`)?.scrollIntoView();
}

show().then(
  () => { document.body.dataset.state = "drawn"; },
  (error) => {
    byId("panels").replaceChildren(element("p", error.message, { class: "failed" }));
    document.body.dataset.state = "failed";
  },
);
