"""Draw policies by how often they turn somebody away and how much they sell, as an SVG for a page of the docs."""

from collections.abc import Sequence

WIDTH, HEIGHT, LEFT, BOTTOM = 720, 400, 70, 50
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #47534f } .mark { stroke: #d5d6d1 } .fixed { fill: none; stroke: #c78a1e; stroke-width: 2 }
.dot { fill: #c78a1e } .evidence { fill: #1c6e5b } .promise { stroke: #a3342a; stroke-dasharray: 5 3 } .bold { font-weight: 600 }
"""

Point = tuple[str, float, float]
"""A policy's name, how many of 100 loans turned somebody away, and the percentage that was sold."""


def chart(fixed: Sequence[Point], evidence: Point, promise: float) -> str:
    """Return the drawing: fixed rates on a line, the evidence beside it, and the promise as an upright line."""
    most = max(over for _, over, _ in fixed) * 1.05
    least, top = min(sold for _, _, sold in fixed) - 1, max(sold for _, _, sold in [*fixed, evidence]) + 1

    def x(over: float) -> float:
        return LEFT + (WIDTH - LEFT - 20) * over / most

    def y(sold: float) -> float:
        return 20 + (HEIGHT - BOTTOM - 20) * (top - sold) / (top - least)

    marks = [
        f'<line class="mark" x1="{LEFT}" x2="{WIDTH - 20}" y1="{y(sold):.1f}" y2="{y(sold):.1f}"/>'
        f'<text x="{LEFT - 8}" y="{y(sold) + 4:.1f}" text-anchor="end">{sold} %</text>'
        for sold in range(int(least) + 1, int(top) + 1, 2)
    ]
    ticks = [f'<text x="{x(over):.1f}" y="{HEIGHT - 28}" text-anchor="middle">{over}</text>' for over in range(0, int(most) + 1, 5)]
    line = " ".join(f"{x(over):.1f},{y(sold):.1f}" for _, over, sold in fixed)
    dots = [
        f'<circle class="dot" cx="{x(over):.1f}" cy="{y(sold):.1f}" r="4"/><text x="{x(over) + 8:.1f}" y="{y(sold) + 14:.1f}">{name}</text>'
        for name, over, sold in fixed
        if name != "1 %"  # its text would cover the next one
    ]
    name, over, sold = evidence
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="title">
<title id="title">Sold, against loans that turned somebody away: fixed rates and the evidence</title>
<style>{STYLE}</style><rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>
{"".join(marks)}
{"".join(ticks)}
<text x="{LEFT - 8}" y="16" text-anchor="end">sold</text>
<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 8}" text-anchor="middle">loans of 100 that turned somebody away</text>
<line class="promise" x1="{x(promise):.1f}" x2="{x(promise):.1f}" y1="20" y2="{HEIGHT - BOTTOM}"/>
<polyline class="fixed" points="{line}"/>
{"".join(dots)}
<circle class="evidence" cx="{x(over):.1f}" cy="{y(sold):.1f}" r="7"/>
<text class="bold" x="{x(over) + 12:.1f}" y="{y(sold) - 8:.1f}">{name}</text>
</svg>
"""
