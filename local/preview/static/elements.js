// HTML elements that every panel type uses.

export function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

// The `noValue` of a table is the text of an empty cell.
export function nothing(body, panel) {
  body.append(element("p", panel.fieldConfig?.defaults?.noValue ?? "No data in this range.", { class: "none" }));
}
