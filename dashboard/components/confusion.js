// The confusion matrix as a table of buttons: a cell filters by true and predicted class, a heading by one of them.

export default function (component) {
  const { data, parentElement, setTriggerValue } = component
  const { classes, counts, selected } = data
  const chosen = (truth, predicted) => selected.true === truth && selected.predicted === predicted
  const pick = (truth, predicted) =>
    setTriggerValue("pick", chosen(truth, predicted) ? { true: null, predicted: null } : { true: truth, predicted })
  const most = Math.max(1, ...counts.flatMap((row, i) => row.filter((_, j) => i !== j)))

  const heading = (name, role) => {
    const on = role === "true" ? chosen(name, null) : chosen(null, name)
    return h("th", { scope: role === "true" ? "row" : "col" },
      h("button", {
        type: "button", class: `quiet head ${on ? "on" : ""}`, "aria-pressed": on ? "true" : "false", title: name,
        "aria-label": `${role} ${name}`, data: { focus: `${role}-${name}` },
        onclick: () => (role === "true" ? pick(name, null) : pick(null, name)),
      }, name))
  }
  const cell = (i, j) => {
    const [truth, predicted, count] = [classes[i], classes[j], counts[i][j]]
    if (i === j) return h("td", {}, h("span", { class: "cell right", title: `${truth} predicted right: ${count}` }, String(count)))
    if (!count) return h("td", {}, h("span", { class: "cell none", "aria-label": "none" }, "·"))
    const on = chosen(truth, predicted)
    return h("td", {}, h("button", {
      type: "button", class: `cell wrong ${on ? "on" : ""}`, "aria-pressed": on ? "true" : "false",
      style: { "--share": `${Math.round(14 + 66 * (count / most))}%` },
      "aria-label": `true ${truth}, predicted ${predicted}: ${count}`,
      title: `true ${truth}, predicted ${predicted}: ${count}`,
      data: { focus: `${truth}-${predicted}` }, onclick: () => pick(truth, predicted),
    }, String(count)))
  }
  const longest = Math.max(...classes.map((name) => name.length))
  const table = h("table", { style: { "--names": `${Math.min(9, Math.max(4.6, 0.62 * longest))}rem` } },
    h("caption", { class: "visually-hidden" }, data.caption),
    h("thead", {}, h("tr", {}, h("td", { class: "corner muted small" }, "true ↓", h("br"), "predicted →"),
      ...classes.map((name) => heading(name, "predicted")))),
    h("tbody", {}, ...classes.map((name, i) => h("tr", {}, heading(name, "true"), ...classes.map((_, j) => cell(i, j))))))
  show(parentElement, h("div", { class: "frame" }, table))
}
