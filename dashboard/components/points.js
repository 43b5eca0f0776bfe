// Pictures and clicks of the points of a plotly figure. The figure is Streamlit's: it may come late, or be drawn anew.

const LOOK_EVERY = 300 // milliseconds

function hasWebgl() {
  const context = document.createElement("canvas").getContext("webgl")
  context?.getExtension("WEBGL_lose_context")?.loseContext()
  return Boolean(context)
}

// `customdata` of a point arrives as a string, a list of one, or a dictionary of one.
function idOf(point) {
  const custom = point.customdata
  return custom && typeof custom === "object" ? Object.values(custom)[0] : custom
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component
  if (window.tracefixWebgl === undefined) window.tracefixWebgl = hasWebgl()
  if (!window.tracefixWebgl && !window.tracefixToldWebgl) {
    window.tracefixToldWebgl = true
    setTriggerValue("webgl", "missing")
  }
  const picture = h("img", { class: "hovered", alt: "", hidden: true })
  show(parentElement, picture)
  const hide = () => { picture.hidden = true }
  const place = (event) => {
    const id = event.points.map(idOf).find((one) => one !== undefined)
    const shown = data.pictures[id]
    if (!shown) return hide()
    picture.src = shown
    picture.dataset.example = id
    picture.hidden = false
    const { clientX, clientY } = event.event
    picture.style.left = `${Math.max(4, clientX - 96)}px`
    picture.style.top = `${Math.max(4, clientY - 38)}px`
  }
  const open = (event) => {
    const id = event.points.map(idOf).find((one) => one !== undefined)
    if (id !== undefined) setTriggerValue("open", id)
  }
  const heard = { plotly_hover: place, plotly_unhover: hide, plotly_relayout: hide, plotly_click: open }
  let figure = null
  const look = () => {
    const found = document.querySelector(`.st-key-${CSS.escape(data.chart)} .js-plotly-plot`)
    if (!found?.on || found === figure) return
    figure = found
    for (const [name, act] of Object.entries(heard)) figure.on(name, act)
  }
  look()
  const timer = setInterval(look, LOOK_EVERY)
  return () => {
    clearInterval(timer)
    for (const [name, act] of Object.entries(heard)) figure?.removeListener?.(name, act)
  }
}
