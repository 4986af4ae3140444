"""Plain SVG bars that can be read on light and on dark.  Pure functions: figures in, text out."""
from html import escape

STYLE = """<style>
text { font: 13px system-ui, sans-serif; fill: #1f2328; }
.title { font-size: 15px; font-weight: 600; }
.faint { fill: #59636e; font-size: 12px; }
.ours { fill: #0969da; } .theirs { fill: #8c959f; } .missed { fill: #cf222e; }
.line { stroke: #1f2328; stroke-width: 1.5; } .grid { stroke: #d1d9e0; }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc; } .faint { fill: #9198a1; }
  .ours { fill: #4493f8; } .theirs { fill: #656c76; } .missed { fill: #f85149; }
  .line { stroke: #f0f6fc; } .grid { stroke: #3d444d; }
}
</style>"""
WIDTH, LEFT, RIGHT, BAR, STEP = 760, 200, 110, 18, 26


class Canvas:
    def __init__(self):
        self.parts, self.y = [], 8

    def text(self, x, words, css="", anchor="start", down=13):
        self.parts.append(f'<text x="{x:.1f}" y="{self.y + down}" text-anchor="{anchor}" class="{css}">{escape(words)}</text>')

    def line(self, x, top, bottom, css, title=""):
        self.parts.append(f'<path d="M{x:.1f} {top}V{bottom}" class="{css}">' + (f"<title>{escape(title)}</title>" if title else "") + "</path>")

    def bar(self, width, css, title=""):
        self.parts.append(f'<rect x="{LEFT}" y="{self.y}" width="{max(width, 1):.1f}" height="{BAR}" rx="2" class="{css}"><title>{escape(title)}</title></rect>')

    def whisker(self, low, high):
        middle = self.y + BAR / 2
        self.parts.append(f'<path d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 4}v8M{high:.1f} {middle - 4}v8" class="line" fill="none"/>')

    def done(self, title):
        return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.y + 8}" role="img" aria-label="{escape(title)}">\n'
                f"<title>{escape(title)}</title>\n{STYLE}\n" + "\n".join(self.parts) + "\n</svg>\n")


def number(value):
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def bars(title, panels, unit):
    """panels: [(words, [(name, value, low, high, ours)])], each panel on a scale of its own."""
    c = Canvas()
    c.text(8, title, "title", down=15)
    c.y += 30
    for words, rows in panels:
        c.text(8, words, "faint")
        c.y += 22
        scale = (WIDTH - LEFT - RIGHT) / max(high for _, _, _, high, _ in rows)
        for name, value, low, high, ours in rows:
            c.text(LEFT - 8, name, anchor="end")
            c.bar(value * scale, "ours" if ours else "theirs", f"{name}: {number(value)} {unit}, {number(low)} to {number(high)}")
            c.whisker(LEFT + low * scale, LEFT + high * scale)
            c.text(LEFT + high * scale + 8, f"{number(value)} {unit}")
            c.y += STEP
        c.y += 10
    return c.done(title)


def gates(title, rows):
    """rows: [(id, value, gate, target, unit)]; each bar is a share of its gate."""
    c = Canvas()
    c.text(8, title, "title", down=15)
    c.y += 30
    top, wide = c.y, WIDTH - LEFT - RIGHT - 40
    most = max(1.0, *(value / gate for _, value, gate, _, _ in rows))
    for name, value, gate, target, unit in rows:
        c.text(LEFT - 8, name, anchor="end")
        c.bar(wide * value / gate / most, "ours" if value <= gate else "missed", f"{name}: {number(value)} {unit} of {number(gate)}")
        if target is not None:
            x = LEFT + wide * target / gate / most
            c.line(x, c.y - 2, c.y + BAR + 2, "line", f"target {number(target)}")
        c.text(max(LEFT + wide * value / gate / most, LEFT + wide * (target or 0) / gate / most) + 8, f"{number(value)} {unit} of {number(gate)}")
        c.y += STEP
    c.line(LEFT + wide / most, top - 6, c.y, "grid", "the gate")
    c.text(LEFT + wide / most, "gate", "faint", "middle")
    c.y += 20
    return c.done(title)
