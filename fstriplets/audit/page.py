"""The pieces of the HTML report: page, tables, bars and histograms, without scripts or outside files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from fstriplets.audit.histograms import Histogram

__all__ = ["bar_table", "histogram_svg", "number", "page", "section", "table", "tiles"]

_CSS = """
:root { color-scheme: light dark; --paper: #fafaf8; --card: #ffffff; --ink: #1c1e22; --faint: #5c6069;
  --line: #e3e3de; --ok: #2a78a8; --no: #c8553d; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181c; --card: #1e2126; --ink: #e9e9e6;
  --faint: #a2a7b0; --line: #33373e; --ok: #5fb0de; --no: #ee8a6f; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); line-height: 1.5;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; margin: 0; letter-spacing: -.02em; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.75rem 0 .5rem; letter-spacing: -.01em; }
p { margin: .25rem 0 1rem; color: var(--faint); max-width: 70ch; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(130px, 1fr)); gap: .75rem;
  margin: 1.5rem 0 0; }
.tile, figure { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.tile { padding: .8rem 1rem; }
.tile b { display: block; font-size: 1.55rem; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tile span { color: var(--faint); font-size: .85rem; }
.scroll { overflow-x: auto; }
.scroll + .scroll { margin-top: 1.5rem; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { padding: .42rem .8rem .42rem 0; text-align: left; border-bottom: 1px solid var(--line);
  vertical-align: top; }
thead th { color: var(--faint); font-weight: 600; font-size: .82rem; }
tbody th { font-weight: 500; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.bar { width: 38%; vertical-align: middle; }
td.bar.no { width: 18%; padding-top: .8rem; vertical-align: top; }
td.bar div { height: .65rem; border-radius: 3px; background: var(--ok); min-width: 2px; }
td.bar.no div { background: var(--no); }
code, pre { font: .85em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
td code { overflow-wrap: anywhere; }
pre { overflow-x: auto; padding: 1rem; border: 1px solid var(--line); border-radius: 10px;
  background: var(--card); }
summary { cursor: pointer; color: var(--faint); }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(310px, 1fr)); gap: .75rem; }
figure { margin: 0; padding: .9rem 1rem .7rem; }
figcaption { font-size: .88rem; margin-bottom: .4rem; }
figcaption span { color: var(--faint); }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--faint); font-size: 11px; }
rect.ok { fill: var(--ok); } rect.no { fill: var(--no); }
i.ok { background: var(--ok); } i.no { background: var(--no); }
.key { display: inline-block; width: .7rem; height: .7rem; border-radius: 2px; margin: 0 .35rem 0 .9rem; }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(400px, 1fr)); gap: .75rem; }
.sheet figure { padding: .6rem; }
.sheet .row { display: grid; grid-template-columns: repeat(3, 1fr); gap: 4px; }
.sheet .row div { position: relative; }
.sheet img { display: block; width: 100%; height: auto; border-radius: 5px; }
.sheet .row span { position: absolute; left: 5px; bottom: 5px; padding: 0 .4rem; border-radius: 4px;
  background: #1c1e22cc; color: #fff; font-size: .75rem; }
.sheet figcaption { margin: .45rem 0 0; color: var(--faint); font-size: .82rem; }
@media (max-width: 480px) { .sheet { grid-template-columns: 1fr; } }
"""


def page(title: str, body: Iterable[str]) -> str:
    """A whole HTML document."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(body)
        + "\n</main>\n</body>\n</html>\n"
    )


def section(title: str, *parts: str, note: str = "") -> str:
    """A heading, a line of explanation and what follows."""
    lead = f"<p>{escape(note)}</p>" if note else ""
    return f"<section>\n<h2>{escape(title)}</h2>\n{lead}\n" + "\n".join(parts) + "\n</section>"


def tiles(values: Mapping[str, str]) -> str:
    """The big numbers on top."""
    cells = (
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for name, value in values.items()
    )
    return f'<div class="tiles">{"".join(cells)}</div>'


def number(value: int) -> str:
    """With thousands separated."""
    return f"{value:,}"


def table(head: Sequence[str], rows: Iterable[Sequence[str | int]], code: Sequence[int] = ()) -> str:
    """A table; integers are set right with separators, the first column is each row's header.

    Args:
        code: columns set in monospace.
    """
    body = []
    numeric: set[int] = set()
    for row in rows:
        cells = []
        for i, value in enumerate(row):
            if isinstance(value, int):
                numeric.add(i)
                cells.append(f'<td class="n">{number(value)}</td>')
                continue
            text = f"<code>{escape(value)}</code>" if i in code and value else escape(value)
            cells.append(f'<th scope="row">{text}</th>' if i == 0 else f"<td>{text}</td>")
        body.append(f"<tr>{''.join(cells)}</tr>")
    heads = "".join(
        f'<th scope="col"{" class=n" if i in numeric else ""}>{escape(name)}</th>'
        for i, name in enumerate(head)
    )
    return _wrap(heads, body)


def bar_table(
    head: tuple[str, str],
    counts: Mapping[str, int],
    messages: Mapping[str, str] | None = None,
    rejected: bool = False,
) -> str:
    """Names with counts and a bar of their share, or an example message in its place."""
    most = max(counts.values(), default=0) or 1
    rows = []
    for name, count in counts.items():
        message = (messages or {}).get(name, "")
        width = f"{100 * count / most:.1f}%"
        style = "bar no" if rejected else "bar"
        bar = f'<td class="{style}"><div style="width: {width}"></div></td>'
        extra = f"<td>{escape(message)}</td>" if messages is not None else ""
        label = escape(name or "none on record")
        rows.append(f'<tr><th scope="row">{label}</th><td class="n">{number(count)}</td>{bar}{extra}</tr>')
    last = '<th scope="col">for example</th>' if messages is not None else ""
    heads = (
        f'<th scope="col">{escape(head[0])}</th><th scope="col" class="n">{escape(head[1])}</th>'
        f'<th scope="col"><span hidden>share</span></th>{last}'
    )
    return _wrap(heads, rows)


def _wrap(heads: str, rows: Sequence[str]) -> str:
    """A table that scrolls by itself on narrow screens."""
    head, body = f"<thead><tr>{heads}</tr></thead>", "\n".join(rows)
    return f'<div class="scroll"><table>{head}\n<tbody>{body}</tbody></table></div>'


def histogram_svg(histogram: Histogram) -> str:
    """Stacked bars, accepted below rejected, with a sentence for those who cannot see them."""
    measure, bins = histogram.measure, len(histogram.ok)
    width, height, floor = 320, 132, 112
    step = width / bins
    most = int((histogram.ok + histogram.other).max()) or 1
    bars = []
    for i in range(bins):
        x, base = i * step, float(floor)
        for style, count in (("ok", int(histogram.ok[i])), ("no", int(histogram.other[i]))):
            if count:
                tall = max(1.0, (floor - 8) * count / most)
                base -= tall
                bars.append(
                    f'<rect class="{style}" x="{x + 0.75:.2f}" y="{base:.2f}" width="{step - 1.5:.2f}"'
                    f' height="{tall:.2f}"/>'
                )
    middle = (measure.low + measure.high) / 2
    ticks = "".join(
        f'<text x="{x}" y="{height - 4}" text-anchor="{anchor}">{value:g}</text>'
        for x, anchor, value in (
            (0, "start", measure.low),
            (width / 2, "middle", middle),
            (width, "end", measure.high),
        )
    )
    ok, other = int(histogram.ok.sum()), int(histogram.other.sum())
    label = (
        f"{measure.title}: {number(ok)} accepted and {number(other)} rejected, median {_median(histogram):g}"
    )
    return (
        f"<figure><figcaption>{escape(measure.title)} <span>{escape(measure.note)}</span></figcaption>"
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">{"".join(bars)}'
        f'<line x1="0" y1="{floor}" x2="{width}" y2="{floor}" stroke="var(--line)"/>{ticks}</svg></figure>'
    )


def _median(histogram: Histogram) -> float:
    """To the middle of a bin."""
    sums = (histogram.ok + histogram.other).cumsum()
    i = int((sums >= sums[-1] / 2).argmax())
    return round(float(histogram.edges[i : i + 2].mean()), 3)
