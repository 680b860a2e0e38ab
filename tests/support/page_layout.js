// What an on-call engineer cannot read on a page of the preview: clipped and overlapping text, legends over plots, empty
// panels, colours outside the palette, and text with too little contrast. Returns one {kind, where, text} per fault.
// `names` are the colours of dashboards/style.py.
async (names) => {
  const { PALETTE, colour, readable } = await import("/static/values.js");
  const faults = new Map();
  const report = (kind, element, text) => {
    const where = placeOf(element);
    faults.set(`${kind} ${where} ${text}`, { kind, where, text });
  };
  function placeOf(element) {
    const panel = element.closest("[data-panel]");
    if (panel) return `panel ${panel.dataset.panel} (${panel.querySelector("h2")?.textContent})`;
    return element.closest("[id]")?.id ?? element.tagName.toLowerCase();
  }

  // --- geometry

  const isHidden = (element) => !element.checkVisibility({ contentVisibilityAuto: true, opacityProperty: true, visibilityProperty: true })
    || element.closest("#js-plotly-tester, defs, option, .hoverlayer") !== null;
  const cornersOf = ({ left, top, right, bottom }) => [[left, top], [right, top], [right, bottom], [left, bottom]];
  const boxOf = (corners) => {
    const [xs, ys] = [corners.map(([x]) => x), corners.map(([, y]) => y)];
    return { left: Math.min(...xs), top: Math.min(...ys), right: Math.max(...xs), bottom: Math.max(...ys) };
  };
  const common = (a, b) => ({
    left: Math.max(a.left, b.left), top: Math.max(a.top, b.top), right: Math.min(a.right, b.right), bottom: Math.min(a.bottom, b.bottom),
  });
  const isEmpty = (box) => box.right - box.left <= 1 || box.bottom - box.top <= 1;
  const isWithin = (box, outer, margin) => box.left >= outer.left - margin && box.top >= outer.top - margin
    && box.right <= outer.right + margin && box.bottom <= outer.bottom + margin;
  // The corners of a line of text of a chart, which can be rotated.
  function svgCorners(text) {
    const { x, y, width, height } = text.getBBox();
    const matrix = text.getScreenCTM();
    return cornersOf({ left: x, top: y, right: x + width, bottom: y + height })
      .map(([left, top]) => [left * matrix.a + top * matrix.c + matrix.e, left * matrix.b + top * matrix.d + matrix.f]);
  }
  // Convex polygons overlap unless an edge of one separates them; `margin` pixels of overlap are allowed.
  function overlap(a, b, margin) {
    for (const polygon of [a, b]) {
      for (let at = 0; at < polygon.length; at += 1) {
        const [[x0, y0], [x1, y1]] = [polygon[at], polygon[(at + 1) % polygon.length]];
        const length = Math.hypot(x1 - x0, y1 - y0) || 1;
        const along = ([x, y]) => (x * (y1 - y0) - y * (x1 - x0)) / length;
        const [ours, theirs] = [a.map(along), b.map(along)];
        if (Math.min(Math.max(...ours), Math.max(...theirs)) - Math.max(Math.min(...ours), Math.min(...theirs)) <= margin) return false;
      }
    }
    return true;
  }

  // Every visible piece of text with its corners, and the box outside which it is not drawn.
  function pieces() {
    const result = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const node = walker.currentNode;
      const parent = node.parentElement;
      if (!node.data.trim() || isHidden(parent)) continue;
      if (parent instanceof SVGElement) {
        // A line of a text of a chart.
        result.push({ element: parent, text: node.data.trim(), corners: svgCorners(parent) });
        continue;
      }
      const range = document.createRange();
      range.selectNodeContents(node);
      for (const rect of range.getClientRects()) result.push({ element: parent, text: node.data.trim(), corners: cornersOf(rect) });
    }
    return result.map((each) => ({ ...each, drawn: drawnBox(each.element) }));
  }
  function drawnBox(element) {
    let box = { left: -Infinity, top: -Infinity, right: Infinity, bottom: Infinity };
    for (let each = element.parentElement; each && each !== document.body; each = each.parentElement) {
      if (each.tagName !== "g" && getComputedStyle(each).overflow !== "visible") box = common(box, each.getBoundingClientRect());
    }
    return box;
  }
  const texts = pieces();

  // --- clipped text: a title must say what is hidden

  const says = (element, text) => {
    const title = element.closest("[title]")?.title ?? "";
    return title.replaceAll(/\s/g, "").includes(text.replaceAll(/\s/g, ""));
  };
  for (const element of document.body.querySelectorAll("*")) {
    if (element instanceof SVGElement || isHidden(element) || !element.innerText?.trim()) continue;
    const style = getComputedStyle(element);
    const hides = (overflow) => overflow === "hidden" || overflow === "clip";
    const clips = (hides(style.overflowX) && element.scrollWidth > element.clientWidth + 1)
      || (hides(style.overflowY) && element.scrollHeight > element.clientHeight + 1);
    if (clips && !says(element, element.innerText)) report("clipped text", element, element.innerText.trim().slice(0, 60));
  }
  // Tables, notes and lists of alerts scroll; a chart or a number that does hides a part of itself.
  for (const body of document.querySelectorAll(".panel:not([data-type=table]):not([data-type=text]):not([data-type=alertlist]) > .body")) {
    if (body.scrollWidth > body.clientWidth + 1 || body.scrollHeight > body.clientHeight + 1) report("clipped text", body, "scrolls");
  }
  for (const { element, text, corners } of texts) {
    if (!(element instanceof SVGElement)) continue;
    const box = boxOf(corners);
    if (!isWithin(box, element.closest("svg").getBoundingClientRect(), 2) && !says(element, text)) report("clipped text", element, text);
  }

  // --- legends over plots, text over text

  for (const plot of document.querySelectorAll(".js-plotly-plot")) {
    const legend = plot.closest(".body").querySelector(".legend")?.getBoundingClientRect();
    if (!legend) continue;
    const { left, top } = plot.querySelector(".main-svg").getBoundingClientRect();
    const { l, t, w, h } = plot._fullLayout._size;
    if (!isEmpty(common(legend, { left: left + l, top: top + t, right: left + l + w, bottom: top + t + h }))) report("legend over plot", plot, "");
  }
  const visible = texts
    .map((each) => ({ ...each, box: common(boxOf(each.corners), each.drawn) }))
    .filter((each) => !isEmpty(each.box))
    .sort((a, b) => a.box.left - b.box.left);
  visible.forEach((one, at) => {
    for (const other of visible.slice(at + 1)) {
      if (other.box.left >= one.box.right) break;
      if (one.element === other.element || one.element.parentElement === other.element.parentElement && one.element.matches("tspan") || isEmpty(common(one.box, other.box))) continue;
      const [a, b] = [one, other].map((each) => (each.element instanceof SVGElement ? each.corners : cornersOf(each.box)));
      if (overlap(a, b, 2)) report("text over text", one.element, `${one.text.slice(0, 30)} | ${other.text.slice(0, 30)}`);
    }
  });

  // --- empty panels

  const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
  function hasMarks(plot) {
    const range = plot._fullLayout.xaxis.type === "date" ? plot._fullLayout.xaxis.range.map((each) => Date.parse(`${each.replace(" ", "T")}Z`)) : undefined;
    return plot.data.filter((trace) => trace.yaxis !== "y2").some((trace) => {
      if (trace.type === "heatmap") return trace.z.flat().some(isNumber);
      if (trace.base) return trace.base.some((from, at) => from + trace.x[at] >= range[0] && from <= range[1]);
      return [...trace.y].some((value, at) => isNumber(value) && (!range || !isNumber(trace.x[at]) || (trace.x[at] >= range[0] && trace.x[at] <= range[1])));
    });
  }
  for (const panel of document.querySelectorAll("[data-panel]")) {
    const body = panel.querySelector(".body");
    const plot = body.querySelector(".js-plotly-plot");
    const explained = body.innerText.trim().split(/\s+/).length >= 2 || (panel.dataset.type === "stat" && /[\p{L}\d]/u.test(body.innerText));
    if (plot ? !hasMarks(plot) : !explained) report("empty panel", panel, body.innerText.trim().slice(0, 60));
  }

  // --- colours

  const parsed = (value) => {
    const numbers = /^rgba?\(([^)]*)\)$/.exec(value)?.[1].split(",").map(Number);
    return numbers && { rgb: numbers.slice(0, 3), alpha: numbers[3] ?? 1 };
  };
  const probe = document.body.appendChild(document.createElement("i"));
  const keyOf = (name) => {
    probe.style.color = "";
    probe.style.color = name;
    return parsed(getComputedStyle(probe).color).rgb.join();
  };
  const root = getComputedStyle(document.documentElement);
  const chrome = [...document.styleSheets].flatMap((sheet) => [...sheet.cssRules])
    .filter((rule) => rule.selectorText === ":root")
    .flatMap((rule) => [...rule.style].filter((name) => name.startsWith("--")).map((name) => root.getPropertyValue(name).trim()));
  const marks = [...names.map(colour), ...PALETTE];
  const palette = new Set([...chrome, ...marks, ...marks.map(readable)].map(keyOf));
  probe.remove();
  const check = (element, value, what) => {
    const found = parsed(value);
    if (found && found.alpha > 0 && !palette.has(found.rgb.join())) report("colour outside the palette", element, `${what} ${value}`);
  };
  for (const element of document.body.querySelectorAll("*")) {
    // A heat map has a scale of its own.
    if (isHidden(element) || element.closest(".colorbar, image")) continue;
    const style = getComputedStyle(element);
    if (element instanceof SVGElement) {
      if (!element.matches("path, rect, circle, line, polygon")) continue;
      const box = element.getBBox();
      if (box.width + box.height === 0) continue;
      if (Number(style.fillOpacity) > 0 && box.width * box.height > 0) check(element, style.fill, `fill of ${element.getAttribute("class")}`);
      if (Number(style.strokeOpacity) > 0 && Number.parseFloat(style.strokeWidth) > 0) check(element, style.stroke, `stroke of ${element.getAttribute("class")}`);
      continue;
    }
    check(element, style.backgroundColor, "background");
    for (const side of ["Top", "Right", "Bottom", "Left"]) {
      if (Number.parseFloat(style[`border${side}Width`]) > 0) check(element, style[`border${side}Color`], "border");
    }
  }
  for (const { element } of texts) check(element, inkOf(element), "text");

  // --- contrast: WCAG 2.2, 1.4.3

  function inkOf(element) {
    const style = getComputedStyle(element);
    return element instanceof SVGElement ? style.fill : style.color;
  }
  const over = (top, alpha, under) => top.map((value, at) => value * alpha + under[at] * (1 - alpha));
  function groundOf(element) {
    const layers = [];
    for (let each = element; each; each = each.parentElement) {
      const found = each instanceof SVGElement ? undefined : parsed(getComputedStyle(each).backgroundColor);
      if (found?.alpha > 0) layers.push(found);
      if (found?.alpha === 1) break;
    }
    return layers.reduceRight((under, { rgb, alpha }) => over(rgb, alpha, under), [255, 255, 255]);
  }
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((value) => value / 255).map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  for (const { element, text } of texts) {
    const style = getComputedStyle(element);
    const [ink, ground] = [parsed(inkOf(element)), groundOf(element)];
    if (!ink) continue;
    const alpha = ink.alpha * (element instanceof SVGElement ? Number(style.fillOpacity) : 1);
    const [low, high] = [luminance(over(ink.rgb, alpha, ground)), luminance(ground)].sort((a, b) => a - b);
    const [px, isBold] = [Number.parseFloat(style.fontSize), Number(style.fontWeight) >= 700];
    const least = px >= 24 || (isBold && px >= 18.66) ? 3 : 4.5;
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < least) report("low contrast", element, `${ratio.toFixed(2)} ${text.slice(0, 40)}`);
  }
  return [...faults.values()];
}
