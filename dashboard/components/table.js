// A table of things that open: the whole row is one click, its first words are a real link.

const CELLS = {
  example: (cell, data) => exampleInput(data.kind, cell, { size: data.thumbnail ?? 44, lines: 2 }),
  text: (cell) => h("span", {}, cell),
  word: (cell) => h("span", { class: "nowrap" }, cell),
  muted: (cell) => h("span", { class: "muted small" }, cell),
  percent: (cell) => h("span", { class: "mono nowrap" }, percent(cell)),
  number: (cell) => h("span", { class: "mono nowrap" }, cell.toFixed(2)),
  seconds: (cell) => h("span", { class: "mono nowrap" }, cell < 0.01 ? "< 0.01 s" : `${cell.toFixed(cell < 10 ? 2 : 0)} s`),
  count: (cell) => h("span", { class: "mono nowrap" }, String(cell)),
  points: (cell) => h("span", { class: "mono nowrap" }, `${signed(100 * cell, 1)} pts`),
  chip: (cell) => h("span", { class: `chip ${cell.tone ?? ""}` }, cell.text),
  transition: (cell) =>
    h(
      "span",
      { class: "transition" },
      h("span", { class: `chip ${cell.tones?.[0] ?? "helper"}` }, cell.from),
      h("span", { class: "muted", "aria-hidden": true }, "→"),
      h("span", { class: "visually-hidden" }, cell.words ?? "predicted as"),
      h("span", { class: `chip ${cell.tones?.[1] ?? "culprit"}` }, cell.to),
    ),
  share: (cell, data, column) =>
    h(
      "span",
      { class: "share" },
      h("span", { class: "track", "aria-hidden": true },
        h("span", { class: `fill ${column.tone ?? ""}`, style: { width: `${100 * cell}%` } })),
      h("span", { class: "mono" }, percent(cell, 0)),
    ),
}

function cell(column, row, component) {
  const { data, setTriggerValue } = component
  const content = row.cells[column.key]
  if (column.kind === "tick") {
    const box = h("input", {
      type: "checkbox", "aria-label": `Choose ${row.id}`, checked: Boolean(content), data: { focus: `tick-${row.id}` },
      onchange: (event) => setTriggerValue("tick", { ids: [row.id], on: event.target.checked }),
    })
    // The whole cell is the box: a click that misses it by a little must not open the row.
    return h("td", { class: "is-tick", onclick: (event) => event.stopPropagation() }, h("label", {}, box))
  }
  const properties = { class: `${column.align ?? ""} is-${column.kind} ${column.minor ? "minor" : ""}` }
  if (column.kind === "actions") {
    const buttons = (content ?? []).map((action) =>
      h("button", {
        type: "button",
        "aria-label": `${action.label}: ${row.name}`,
        data: { focus: `${action.name}-${row.id}` },
        onclick: (event) => {
          event.stopPropagation()
          setTriggerValue("act", { name: action.name, id: row.id })
        },
      }, action.label))
    return h("td", properties, h("span", { class: "buttons" }, ...buttons))
  }
  const shown = content === null || content === undefined ? "" : CELLS[column.kind](content, data, column)
  if (column.link && row.href) {
    return h("td", properties, appLink(row.href, () => setTriggerValue("open", row.id), {
      data: { focus: `row-${row.id}` }, "aria-label": row.name,
    }, shown))
  }
  return h("td", properties, shown)
}

function header(column, component) {
  const { data, setTriggerValue } = component
  const properties = { scope: "col", class: `${column.align ?? ""} ${column.minor ? "minor" : ""}` }
  if (column.kind === "tick") {
    const ids = data.rows.map((row) => row.id)
    const on = data.rows.filter((row) => row.cells[column.key]).length
    const box = h("input", {
      type: "checkbox", "aria-label": column.title, checked: on === ids.length, data: { focus: "tick-all" },
      onchange: (event) => setTriggerValue("tick", { ids, on: event.target.checked }),
    })
    box.indeterminate = on > 0 && on < ids.length
    return h("th", { ...properties, class: "is-tick" }, h("label", {}, box))
  }
  if (!column.sortable) return h("th", properties, column.title)
  const sorted = data.sort?.key === column.key
  const direction = data.sort?.descending ? "descending" : "ascending"
  return h("th", { ...properties, "aria-sort": sorted ? direction : "none" },
    h("button", {
      type: "button", class: "quiet", data: { focus: `sort-${column.key}` },
      onclick: () => setTriggerValue("sort", column.key),
    }, column.title, h("span", { "aria-hidden": true, class: sorted ? "" : "unsorted" },
      sorted && !data.sort.descending ? " ↑" : " ↓")))
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component
  const rows = data.rows.map((row) => {
    if (row.unavailable) {
      const [first, ...others] = data.columns
      return h("tr", { class: "unavailable" }, cell(first, row, component),
        h("td", { colspan: others.length }, h("span", { class: "small" }, row.unavailable)))
    }
    const line = h("tr", { class: row.href ? "opens" : "" }, ...data.columns.map((column) => cell(column, row, component)))
    if (row.href) {
      line.onclick = (event) => {
        if (event.metaKey || event.ctrlKey) window.open(row.href, "_blank", "noopener")
        else if (!String(window.getSelection())) setTriggerValue("open", row.id)
      }
    }
    return line
  })
  const table = h("table", {},
    h("caption", { class: "visually-hidden" }, data.caption),
    h("thead", {}, h("tr", {}, ...data.columns.map((column) => header(column, component)))),
    h("tbody", {}, ...rows))
  show(parentElement, h("div", { class: "frame", style: data.height ? { "max-height": `${data.height}px` } : {} }, table))
}
