// Node graphs: a column per kind of node, in the order of the rows, and the edges between them.

import { element, nothing } from "./elements.js";
import { colour, fieldConfig } from "./values.js";

const ARC = "arc__";
const [ROW, BOX, GAP, LEAST_WIDTH, CHAR] = [26, 20, 60, 110, 6.5];

function svg(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// The tooltip of a node has all of a text that is cut.
const cut = (text, chars) => (text.length <= chars ? text : chars < 2 ? "" : `${text.slice(0, chars - 1)}…`);

export function drawNodeGraph(body, panel, frames) {
  const rows = frames.map(({ columns }) => (columns[0]?.values ?? []).map((_, index) => Object.fromEntries(columns.map(({ name, values }) => [name, values[index]]))));
  const hasEdges = (frame) => frame.columns.some(({ name }) => name === "source");
  const nodes = rows.filter((_, index) => !hasEdges(frames[index])).flat();
  const edges = rows.filter((_, index) => hasEdges(frames[index])).flat();
  if (nodes.length === 0) return nothing(body, panel);
  const kinds = [...new Set(nodes.map((node) => node.detail__kind))];
  const columns = kinds.map((kind) => nodes.filter((node) => node.detail__kind === kind));
  const height = ROW * Math.max(...columns.map((column) => column.length));
  const width = Math.max((body.clientWidth - 20 - GAP * (kinds.length - 1)) / kinds.length, LEAST_WIDTH);
  const drawing = svg("svg", { class: "graph", width: kinds.length * (width + GAP) - GAP, height });
  const places = new Map();
  columns.forEach((column, across) => column.forEach((node, down) => {
    places.set(node.id, { x: across * (width + GAP), y: height / 2 + (down - (column.length - 1) / 2) * ROW });
  }));
  for (const { source, target } of edges) {
    const [from, to] = [places.get(source), places.get(target)];
    if (!from || !to) continue;
    const [start, middle] = [from.x + width, (from.x + width + to.x) / 2];
    drawing.append(svg("path", { d: `M${start} ${from.y}C${middle} ${from.y} ${middle} ${to.y} ${to.x} ${to.y}`, "data-edge": `${source} ${target}` }));
  }
  for (const node of nodes) drawing.append(drawNode(node, panel, places.get(node.id), width));
  const holder = element("div");
  holder.append(drawing);
  body.append(holder);
}

function drawNode(node, panel, { x, y }, width) {
  const arc = Object.keys(node).find((name) => name.startsWith(ARC) && node[name] > 0);
  const ring = arc ? { style: `stroke: ${colour(fieldConfig(panel, "number", arc).color.fixedColor)}; stroke-width: 3` } : {};
  const facts = Object.entries(node).filter(([name, value]) => !name.startsWith(ARC) && name !== "id" && value);
  const tooltip = facts.map(([name, value]) => `${name.replace("detail__", "")}: ${value}`).join("\n");
  const chars = Math.floor((width - 20) / CHAR);
  const rest = [node.mainstat, node.subtitle].filter(Boolean).join(" · ");
  const text = svg("text", { x: 7, y: BOX / 2 + 4 }, svg("tspan", {}, cut(node.title, chars)), svg("tspan", { dx: 6 }, cut(rest, chars - node.title.length)));
  return svg("svg", { x, y: y - BOX / 2, width, height: BOX, "data-node": node.id },
    svg("title", {}, tooltip), svg("rect", { x: 1.5, y: 1.5, width: width - 3, height: BOX - 3, rx: 4, ...ring }), text);
}
