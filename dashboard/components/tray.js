// What is in the fix tray: each chosen training example with its action, and a way out again.

export default function (component) {
  const { data, parentElement, setTriggerValue } = component
  const change = (id, action, label) => setTriggerValue("change", { id, action, label })
  const items = data.items.map((item) => {
    const control = item.action === "relabel"
      ? h("select", {
          "aria-label": `Relabel ${item.id} as`, data: { focus: `tray-${item.id}` },
          onchange: (event) => change(item.id, "relabel", event.target.value),
        }, ...data.classes.map((name) => h("option", { value: name, selected: name === item.label }, `→ ${name}`)))
      : h("span", { class: `chip ${item.action === "upweight" ? "helper" : ""}` }, item.action === "upweight" ? "up-weight" : item.action)
    return h("li", { class: `${item.action} ${data.kind}` },
      exampleInput(data.kind, item.input, { size: 34, lines: 2, alt: `training example ${item.id}` }),
      h("div", { class: "facts" },
        h("div", { class: "small" }, h("span", { class: "muted" }, "label "), item.own_label,
          h("span", { class: "muted" }, `  #${item.id}`)),
        control),
      h("button", {
        type: "button", class: "quiet", "aria-label": `Remove ${item.id} from selection`, title: "Remove from selection",
        onclick: () => change(item.id, null, null),
      }, "✕"))
  })
  show(parentElement, h("ul", { "aria-label": data.caption }, ...items))
}
