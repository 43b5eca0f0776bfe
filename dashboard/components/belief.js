// What the model says of one example: the input, the verdict, and a bar per class; with "after", two bars per class.

function track(fraction, tone) {
  return h("span", { class: "track", "aria-hidden": true },
    h("span", { class: `fill ${tone}`, style: { width: `${Math.max(0.4, 100 * fraction)}%` } }))
}

export default function (component) {
  const { data, parentElement } = component
  const marks = (name) => [
    name === data.true ? h("span", { class: "mark helper-mark" }, "true") : null,
    name === data.predicted && name !== data.true ? h("span", { class: "mark culprit-mark" }, "predicted") : null,
  ]
  const tone = (name) => (name === data.true ? "helper" : name === data.predicted ? "culprit" : "other")
  const rows = data.bars.map(({ name, before, after }) => {
    const paired = after !== undefined && after !== null
    return h("div", { class: "line", role: "listitem" },
      h("div", { class: "head" },
        h("span", { class: "name" }, name),
        ...marks(name),
        h("span", { class: "value mono" }, paired
          ? [percent(before), " → ", percent(after)].join("")
          : percent(before))),
      track(before, `${tone(name)} ${paired ? "faded" : ""}`),
      paired ? track(after, tone(name)) : null)
  })
  const pieces = data.title ? [h("h3", {}, data.title)] : []
  if (data.input !== null && data.input !== undefined) {
    const alt = `example ${data.id}, true ${data.true}, predicted ${data.predicted}`
    const [shown, ...about] = lookedInput(data.kind, data.input, data.looked, { size: data.size ?? 168, lines: 9, alt })
    if (shown.classList.contains("words")) {
      shown.classList.add("quoted")
      shown.onclick = () => shown.classList.toggle("open")
    }
    pieces.push(shown, ...about.filter((part) => part !== null))
  }
  pieces.push(h("div", { class: "bars", role: "list", "aria-label": data.caption }, ...rows))
  if (data.rest) pieces.push(h("div", { class: "muted small" }, data.rest))
  if (data.bars.some(({ after }) => after !== undefined && after !== null))
    pieces.push(h("div", { class: "legend small muted" },
      h("span", { class: "swatch faded" }), "before", h("span", { class: "swatch" }), "after"))
  show(parentElement, h("div", { class: "belief" }, ...pieces))
}
