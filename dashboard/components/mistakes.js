// Mispredicted examples as small cards: what each shows, what it is taken for and, after a fix, what it became.

function beliefs(card) {
  const chips = [
    h("span", { class: "chip helper" }, h("span", { class: "visually-hidden" }, "true "), card.true),
    h("span", { class: "muted", "aria-hidden": true }, "→"),
    h("span", { class: "chip culprit" }, h("span", { class: "visually-hidden" }, "predicted as "), card.predicted),
  ]
  return h("div", { class: "classes" }, ...chips)
}

function outcome(card) {
  if (card.now === null || card.now === undefined) return null
  const fixed = card.now === card.true
  return h("div", { class: "outcome" },
    h("span", { class: `chip ${fixed ? "helper" : "culprit"}` },
      h("span", { "aria-hidden": true }, fixed ? "✓" : "✗"), fixed ? "fixed" : `still wrong: ${card.now}`))
}

function chance(card) {
  const after = card.chance_now === null || card.chance_now === undefined ? "" : ` → ${percent(card.chance_now, 0)}`
  return h("div", { class: "small muted" }, "p(true) ", h("span", { class: "mono nowrap" }, `${percent(card.chance, 0)}${after}`))
}

function cardOf(card, component) {
  const { data, setTriggerValue } = component
  const name = `Investigate ${card.id}: true ${card.true}, predicted ${card.predicted}`
  const shown = exampleInput(data.kind, card.input, { size: 44, lines: 2, alt: `test example ${card.id}` })
  const id = h("span", { class: "small clip", title: card.id }, card.id)
  return h("li", { class: `card ${data.kind}`, data: { example: card.id } },
    shown,
    h("div", { class: "facts" },
      h("div", { class: "top" },
        card.href
          ? appLink(card.href, () => setTriggerValue("open", card.id), {
              class: "clip", "aria-label": name, data: { focus: `open-${card.id}` },
            }, id)
          : id,
        data.removable
          ? h("button", {
              type: "button", class: "quiet", "aria-label": `Leave ${card.id} out`, title: "Leave it out",
              data: { focus: `leave-${card.id}` }, onclick: () => setTriggerValue("leave", card.id),
            }, "✕")
          : null),
      beliefs(card),
      chance(card),
      outcome(card)))
}

export default function (component) {
  const { data, parentElement } = component
  show(parentElement, h("ul", { "aria-label": data.caption }, ...data.cards.map((card) => cardOf(card, component))))
}
