// Culprits and helpers side by side, as cards with a signed score bar and one control that puts a card in the fix tray.

function scoreBar(score, largest) {
  const share = `${Math.max(1, 50 * Math.abs(score) / (largest || 1))}%`
  const side = score >= 0 ? { left: "50%", width: share } : { right: "50%", width: share }
  return h("div", { class: "score" },
    h("div", { class: "axis", "aria-hidden": true },
      h("span", { class: `reach ${score >= 0 ? "culprit" : "helper"}`, style: side })),
    h("span", { class: "mono value" }, signed(score)))
}

function flags(card, reveal) {
  const shown = []
  if (card.explains) shown.push(h("span", { class: "chip explains" }, card.explains))
  if (card.suspected) {
    const looks = card.suggested ? `suspected label error: looks like ${card.suggested}` : "suspected label error"
    const belief = card.believed ? `, held out p ${card.believed}` : ""
    shown.push(h("span", { class: "chip culprit" }, h("span", { "aria-hidden": true }, "⚑"), looks + belief))
  }
  if (card.duplicate_of) shown.push(h("span", { class: "chip outline" }, `duplicate of ${card.duplicate_of}`))
  if (card.copies) shown.push(h("span", { class: "chip outline" }, `${card.copies} near-duplicate${card.copies > 1 ? "s" : ""}`))
  if (reveal && card.planted) shown.push(h("span", { class: "chip planted" }, `planted error: really ${card.planted}`))
  return shown.length ? h("div", { class: "flags" }, ...shown) : null
}

function relabelControl(card, chosen, classes, choose) {
  const select = h("select", {
    "aria-label": `Relabel ${card.id} as`, data: { focus: `relabel-${card.id}`, control: "relabel" },
    onclick: (event) => event.stopPropagation(),
    onchange: (event) => choose(card.id, "relabel", event.target.value),
  },
    h("option", { value: "", disabled: true, selected: !chosen }, "Relabel as…"),
    ...classes.filter((name) => name !== card.label).map((name) =>
      h("option", { value: name, selected: chosen?.label === name }, name)))
  const quick = !chosen && card.suggested && card.suggested !== card.label
    ? h("button", {
        type: "button", data: { focus: `quick-${card.id}` }, "aria-label": `Relabel ${card.id} as ${card.suggested}`,
        onclick: () => choose(card.id, "relabel", card.suggested), title: `Relabel as ${card.suggested}`,
      }, h("span", { class: "clip" }, `→ ${card.suggested}`))
    : null
  return [quick, select]
}

function weightControl(card, chosen, choose) {
  return [h("button", {
    type: "button", class: chosen ? "pressed" : "", "aria-pressed": chosen ? "true" : "false",
    "aria-label": `Up-weight ${card.id}`, data: { focus: `weight-${card.id}` },
    onclick: () => choose(card.id, chosen ? null : "upweight", null),
  }, chosen ? "✓ Up-weight" : "Up-weight")]
}

// A small switch of a card: what is asked of the page while it is pressed is drawn on the card.
function askButton(name, card, pressed, words, ask) {
  return h("button", {
    type: "button", class: "quiet ask", "aria-pressed": pressed ? "true" : "false", data: { focus: `${name}-${card.id}` },
    "aria-label": `${words} ${card.id}`, title: words, onclick: () => ask(card.id),
  }, pressed ? `✓ ${name}` : name)
}

// Through which layers a score comes, and at which words.
function scoreParts(why) {
  return h("div", { class: "why small" },
    ...why.sentences.map((sentence) => h("p", {}, sentence)),
    why.layers.length ? barList(why.layers) : null)
}

// Cards of one group, or the one that stands alone, under what they have in common.
function groupOf(cards, column, component, actions) {
  const list = h("ol", {}, ...cards.map((card) => cardOf(card, column, component, actions)))
  const [first] = cards
  if (!first.group) return list
  const relabelled = column.role === "culprits" && component.data.groups_chosen && cards.every((card) => card.suggested === first.suggested && card.suggested)
  const done = cards.every((card) => component.data.chosen[card.id]?.label === first.suggested)
  return h("div", { class: "group", role: "group", "aria-label": first.group },
    h("div", { class: "group-head" },
      h("span", { class: "small" }, first.group),
      relabelled
        ? h("button", {
            type: "button", data: { focus: `group-${column.role}-${first.group}` }, "aria-pressed": done ? "true" : "false",
            onclick: () => actions.chooseAll(cards.map((card) => card.id), done ? null : first.suggested),
          }, done ? `✓ All → ${first.suggested}` : `Relabel all → ${first.suggested}`)
        : null),
    list)
}

function groupsOf(cards) {
  const groups = []
  for (const card of cards) {
    const last = groups[groups.length - 1]
    if (last && last[0].group === card.group) last.push(card)
    else groups.push([card])
  }
  return groups
}

function cardOf(card, { role, largest }, component, { choose, look, why, pin }) {
  const { data } = component
  const chosen = data.chosen[card.id]
  const controls = role === "culprits"
    ? relabelControl(card, chosen?.action === "relabel" ? chosen : null, data.classes, choose)
    : weightControl(card, chosen?.action === "upweight" ? chosen : null, choose)
  if (chosen && role === "culprits") {
    controls.push(h("button", {
      type: "button", class: "quiet", "aria-label": `Remove ${card.id} from selection`,
      onclick: () => choose(card.id, null, null),
    }, "✕"))
  }
  const looked = data.looks[card.id], parts = data.whys[card.id]
  const alt = `training example ${card.id}, labelled ${card.label}`
  const pictured = looked?.kind === "pixels"
  const [shown, ...about] = lookedInput(data.kind, card.input, looked, { size: pictured ? 112 : 56, lines: looked ? 40 : 3, alt, brief: true })
  if (shown.classList.contains("words")) expandable(shown)
  const item = h("li", {
    class: `card ${role} ${chosen ? "chosen" : ""} ${data.kind}`, data: { example: card.id },
    onkeydown: (event) => {
      if (event.target.tagName === "SELECT" || event.metaKey || event.ctrlKey || event.altKey) return
      if (event.key === "x" && chosen) choose(card.id, null, null)
      else if (event.key === "l") item.querySelector("[data-control=relabel]")?.focus()
      else return
      event.preventDefault()
      event.stopPropagation()
    },
  },
    shown,
    h("div", { class: "facts" },
      h("div", { class: "top" },
        h("div", { class: "names" },
          h("div", { class: "label" }, h("span", { class: "muted" }, "label "), card.label),
          h("div", { class: "origin" },
            h("span", { class: "muted small clip", title: card.id }, `#${card.id}`),
            h("span", { class: "nowrap" },
              data.lookable ? askButton("Look", card, looked, "What the model looked at in", look) : null,
              data.askable ? askButton("Why?", card, parts, "Why the score of", why) : null,
              data.pinnable ? askButton("Pin", card, card.pinned, "Pin to compare", pin) : null))),
        h("div", { class: "controls" }, ...controls)),
      scoreBar(card.score, largest),
      flags(card, data.reveal),
      ...about,
      parts ? scoreParts(parts) : null))
  return item
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component
  const choose = (id, action, label) => setTriggerValue("choose", { id, action, label })
  const actions = {
    choose,
    look: (id) => setTriggerValue("look", id),
    why: (id) => setTriggerValue("why", id),
    pin: (id) => setTriggerValue("pin", id),
    chooseAll: (ids, label) => setTriggerValue("choose_all", { ids, label }),
  }
  const columns = data.columns.map((column) =>
    h("section", { "aria-label": column.title, class: column.role },
      h("h3", {}, h("span", { class: "glyph", "aria-hidden": true }, column.role === "culprits" ? "▲" : "▼"), column.title),
      h("p", { class: "muted small" }, column.subtitle),
      column.cards.length
        ? h("div", { class: "groups" }, ...groupsOf(column.cards).map((cards) => groupOf(cards, column, component, actions)))
        : h("p", { class: "muted" }, column.empty)))
  show(parentElement, h("div", { class: `columns ${columns.length > 2 ? "many" : ""}` }, ...columns))
}
