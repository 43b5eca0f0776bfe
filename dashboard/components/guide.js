// The guided first visit: a line in the flow of the page, so that it covers nothing. Once closed, this browser
// remembers; where it may not remember, the session does.

const CLOSED = "tracefix guide closed"

function remembered() {
  try { return window.localStorage.getItem(CLOSED) !== null } catch { return false }
}

function remember() {
  try { window.localStorage.setItem(CLOSED, "yes") } catch { /* not allowed here: the session remembers */ }
}

// Without it, not even the gap between two elements stays.
function takeAway(parentElement) {
  const host = (parentElement.getRootNode().host ?? parentElement).closest("[data-testid=stElementContainer]")
  if (host) host.style.display = "none"
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component
  const root = parentElement.querySelector(".root")
  if (remembered()) return takeAway(parentElement)
  const close = () => {
    remember()
    takeAway(parentElement)
    setTriggerValue("close", true)
  }
  const draw = (at) => {
    root.dataset.at = at
    const step = data.steps[at]
    const last = at === data.steps.length - 1
    show(parentElement, h("section", { class: "guide", "aria-label": "Guide for a first visit" },
      h("p", { "aria-live": "polite" },
        h("span", { class: "where" }, `Step ${step.number} of ${data.count}`), step.text),
      h("div", { class: "buttons" },
        last ? null : h("button", { type: "button", data: { focus: "go-on" }, onclick: () => draw(at + 1) }, "Go on"),
        h("button", { type: "button", class: data.done ? "" : "quiet", data: { focus: "close" }, onclick: close },
          data.done ? "Done" : "Close guide"))))
    if (last && root.contains(document.activeElement)) root.querySelector("[data-focus=close]")?.focus()
  }
  draw(Math.min(Number(root.dataset.at ?? 0), data.steps.length - 1))
}
