// A page in a frame that is as high as its content: the dashboard scrolls, not a frame within it. The sandbox lets no
// script run in it, whatever the page says; same origin only, so that its height can be measured from outside.

export default function (component) {
  const { data, parentElement } = component
  const root = parentElement.querySelector(".root")
  const there = root.querySelector("iframe")
  if (there && there.srcdoc === data.page) return
  const frame = h("iframe", { title: data.title, sandbox: "allow-same-origin allow-popups", scrolling: "no" })
  const fit = () => {
    const content = frame.contentDocument?.documentElement
    if (content) frame.style.height = `${Math.ceil(content.getBoundingClientRect().height)}px`
  }
  frame.onload = () => {
    fit()
    new frame.contentWindow.ResizeObserver(fit).observe(frame.contentDocument.documentElement)
    // Going to a place in a frame does not scroll what is around it.
    for (const link of frame.contentDocument.querySelectorAll("a[href^='#']")) {
      link.onclick = (event) => {
        event.preventDefault()
        frame.contentDocument.querySelector(link.getAttribute("href"))?.scrollIntoView({ block: "start" })
      }
    }
  }
  frame.srcdoc = data.page
  root.replaceChildren(frame)
}
