"""What tests look at in a real browser."""

WIDTHS = (380, 768, 1280)
HOSTILE = ("<script>document.title='x'</script>", "'\" onerror=alert(1)", "ع" * 40, "w" * 300)
CONTRAST = """
const numbers = (text) => {
  const found = text.match(/[\\d.]+/g).map(Number);
  const scale = text.startsWith('color(') ? 1 : 255;
  const [r, g, b, a] = [...found.slice(0, 3).map((v) => v / scale), found[3] ?? 1];
  return {rgb: [r, g, b], a};
};
const light = (rgb) => {
  const [r, g, b] = rgb.map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const under = (element) => {
  const layers = [];
  for (let e = element; e; e = e.parentElement) {
    const layer = numbers(getComputedStyle(e).backgroundColor);
    layers.push(layer);
    if (layer.a === 1) break;
  }
  let rgb = [1, 1, 1];
  for (const layer of layers.reverse())
    rgb = rgb.map((v, i) => v * (1 - layer.a) + layer.rgb[i] * layer.a);
  return rgb;
};
const bad = [];
let seen = 0;
for (const element of document.querySelectorAll('body *')) {
  if (element.closest('dialog, script, .skip')) continue;
  const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  if (!own || !element.getClientRects().length) continue;
  const style = getComputedStyle(element);
  const colour = numbers(element instanceof SVGElement ? style.fill : style.color);
  const [a, b] = [light(colour.rgb), light(under(element))].sort().reverse();
  const ratio = (a + 0.05) / (b + 0.05);
  seen += 1;
  if (ratio < 4.5) bad.push(`${element.className} ${element.textContent.slice(0, 30)} ${ratio}`);
}
return [seen, bad];
"""


def look(browser, address, width=1280, **media):
    """Open a page in a window of a width, with media features such as a dark colour scheme.

    Without smooth scrolling, if not asked for, because a click could miss what moves.
    """
    media = {"prefers_reduced_motion": "reduce"} | media
    features = [{"name": n.replace("_", "-"), "value": v} for n, v in media.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 700}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(address)


def logged(browser):
    return [entry["message"] for entry in browser.get_log("browser")]


def overflow(browser):
    """Return by how many pixels the page is wider than its window."""
    return browser.execute_script(
        "const e = document.documentElement; return e.scrollWidth - e.clientWidth"
    )
