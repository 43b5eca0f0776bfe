// What the model looked at, drawn over an example: words marked, pixels tinted. Data are those of views/saliency.py.

const FAINT = 0.2

// A text whose words are marked by how strongly they pushed, and which way; what the model did not read is greyed.
function markedWords(looked, { lines = 3 } = {}) {
  const piece = ({ text, strength, title }) => {
    if (strength === undefined || Math.abs(strength) < FAINT) return title ? h("span", { title }, text) : text
    const size = Math.abs(strength)
    return h("span", {
      class: `mark-word ${strength > 0 ? "up" : "down"} ${size >= 0.5 ? "strong" : ""}`,
      style: { "--share": `${Math.round(8 + 42 * size)}%` }, title,
    }, text)
  }
  return h("div", { class: "words marked", style: { "--lines": lines }, dir: "auto" },
    ...looked.pieces.map(piece),
    looked.unseen ? h("span", { class: "unseen", title: "Cut off: the model does not read this" }, looked.unseen) : null)
}

// A picture under two tints: plain where its pixels pushed up, striped where they pushed down.
function tintedPicture(image, looked, size) {
  image.classList.add("under-tint")
  const tint = (way, mask) => mask
    ? h("span", { class: `tint ${way}`, style: { "mask-image": `url("${mask}")` }, "aria-hidden": true }) : null
  const box = h("div", { class: "tinted", style: { width: `${size}px`, height: `${size}px` } },
    image, tint("up", looked.up_mask), tint("down", looked.down_mask))
  const sharpen = () => box.classList.toggle("crisp", image.naturalWidth > 0 && image.naturalWidth <= size)
  image.addEventListener("load", sharpen)
  sharpen()
  return box
}

// Parts of a whole by name, as bars to the right (up) or left (down); numbers of an input come with their value.
function barList(rows) {
  return h("ol", { class: "bar-list" }, ...rows.map(({ name, title, value, part, strength }) => {
    const reach = `${Math.max(1, 50 * Math.abs(strength))}%`
    return h("li", {},
      h("span", { class: "clip", title: title ?? name }, name, value ? h("span", { class: "muted" }, ` = ${value}`) : null),
      h("span", { class: "part-axis", "aria-hidden": true },
        h("span", { class: `part-reach ${strength >= 0 ? "up" : "down"}`,
          style: strength >= 0 ? { left: "50%", width: reach } : { right: "50%", width: reach } })),
      h("span", { class: "mono" }, part))
  }))
}

// What the two ways mean, in words and marks; for screen readers also what is strongest.
// On a card, where there is little room, the note is left out.
function lookLegend(looked, brief) {
  const entry = (way, words) => h("span", { class: "look-way" },
    h("span", { class: `look-swatch ${way} on-${looked.kind}`, "aria-hidden": true }, looked.kind === "words" ? "a" : ""), words)
  return h("div", { class: "look-legend small muted", title: brief ? looked.note : null },
    entry("up", brief ? looked.up_brief : looked.up), entry("down", brief ? looked.down_brief : looked.down),
    h("span", { class: "visually-hidden" }, looked.summary),
    brief ? null : h("div", { class: "look-note" }, looked.note))
}

// An example with what the model looked at, as an array of elements; without it, or until it is there, the example.
function lookedInput(kind, input, looked, { size = 56, lines = 3, alt = "", brief = false } = {}) {
  const ready = looked && ["words", "pixels", "numbers"].includes(looked.kind)
  if (ready && looked.kind === "words") return [markedWords(looked, { lines }), lookLegend(looked, brief)]
  const plain = exampleInput(kind, input, { size, lines, alt: ready ? `${alt}. ${looked.summary}` : alt })
  if (ready && looked.kind === "pixels" && plain.tagName === "IMG") return [tintedPicture(plain, looked, size), lookLegend(looked, brief)]
  if (ready && looked.kind === "numbers") return [plain, barList(looked.numbers), lookLegend(looked, brief)]
  const note = looked?.note ? h("div", { class: "look-note small muted", role: looked.kind === "waiting" ? "status" : null }, looked.note) : null
  return [plain, note]
}
