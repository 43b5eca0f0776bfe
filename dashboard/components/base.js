// Shared by every component. Text from data only ever becomes a text node: markup in it stays visible and inert.

function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue
    if (name === "class") element.className = value
    else if (name === "style") for (const [key, text] of Object.entries(value)) element.style.setProperty(key, text)
    else if (name === "data") Object.assign(element.dataset, value)
    else if (name.startsWith("on")) element[name] = value
    else element.setAttribute(name, value === true && !name.startsWith("aria-") ? "" : String(value))
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false))
  return element
}

// Replace what a component shows, and put the keyboard focus back on the control that had it.
function show(parentElement, ...children) {
  const root = parentElement.querySelector(".root")
  const focused = parentElement.activeElement ?? document.activeElement
  const key = focused && root.contains(focused) ? focused.dataset.focus : undefined
  root.replaceChildren(...children)
  if (key) root.querySelector(`[data-focus="${CSS.escape(key)}"]`)?.focus({ preventScroll: true })
  return root
}

// An example as a person sees it: a picture (small ones enlarged without blur) or its words.
function exampleInput(kind, input, { size = 56, lines = 3, alt = "" } = {}) {
  if (kind === "image" && input.startsWith("data:image/")) {
    const image = h("img", { class: "thumb", src: input, alt, width: size, height: size, decoding: "sync" })
    const sharpen = () => image.classList.toggle("crisp", image.naturalWidth > 0 && image.naturalWidth <= size)
    image.onload = sharpen
    sharpen()
    return image
  }
  const words = h("div", { class: "words", style: { "--lines": lines }, dir: "auto" }, input || "(empty)")
  return words
}

// Words that are cut off open on a click, or on Enter: only then can the keyboard reach them.
function expandable(words) {
  const toggle = () => words.setAttribute("aria-expanded", words.classList.toggle("open"))
  words.onclick = toggle
  words.onkeydown = (event) => {
    if (event.key !== "Enter" && event.key !== " ") return
    event.preventDefault()
    toggle()
  }
  requestAnimationFrame(() => {
    if (words.scrollHeight <= words.clientHeight + 1) return
    for (const [name, value] of Object.entries({ tabindex: "0", role: "button", "aria-expanded": "false" })) words.setAttribute(name, value)
  })
  return words
}

// A link that stays inside the app on a plain click and behaves as a link otherwise (new tab, copy, middle click).
function appLink(href, follow, properties, ...children) {
  const link = h("a", { href, ...properties }, ...children)
  link.onclick = (event) => {
    event.stopPropagation()
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return
    event.preventDefault()
    follow()
  }
  return link
}

const percent = (fraction, digits = 1) => `${(100 * fraction).toFixed(digits)} %`
const signed = (value, digits) => {
  const size = Math.abs(value)
  const scientific = size !== 0 && (size < 0.001 || size >= 10000)
  const text = digits !== undefined ? size.toFixed(digits) : scientific ? size.toExponential(1) : size.toPrecision(3)
  return `${value < 0 ? "\u2212" : "+"}${text}`
}
