"""How long a page of `fstriplets export page` takes in headless Chromium: the figures of docs/export.md.

    python tests/measure_page.py swap.html [--times 10]

Loads the page, opens its example and swaps it several times. Times are of the page's only thread: processor
time, which other work on the machine does not lengthen much, and the clock's.
"""

from __future__ import annotations

from pathlib import Path

import click
from chromium import Page

STATUS = "document.getElementById('status').textContent"
TIMES = "[...document.querySelectorAll('#times dt')].map((e) => [e.textContent, e.nextSibling.textContent])"


def _peak(page: Page) -> float:
    """MB of memory the page's process has held at most."""
    session, page._session = page._session, ""
    processes = page.call("SystemInfo.getProcessInfo")["processInfo"]
    page._session = session
    kept = []
    for process in processes:
        if process["type"] == "renderer":
            status = Path(f"/proc/{process['id']}/status").read_text(encoding="ascii")
            kept.append(int(status.split("VmHWM:")[1].split()[0]) / 1000)
    return max(kept)


def _busy(page: Page) -> float:
    """Seconds of processor time the page's thread has used."""
    metrics = {item["name"]: item["value"] for item in page.call("Performance.getMetrics")["metrics"]}
    return metrics["ThreadTime"] if "ThreadTime" in metrics else metrics["TaskDuration"]


@click.command()
@click.argument("page_file", metavar="PAGE", type=click.Path(exists=True, path_type=Path))
@click.option("--times", default=10, show_default=True, help="How often it is swapped.")
def main(page_file: Path, times: int) -> None:
    """Measure a page."""
    page = Page()
    try:
        page.call("Performance.disable")
        page.call("Performance.enable", timeDomain="threadTicks")
        page.open(page_file)
        page.wait(f"{STATUS}.startsWith('Ready')", 300)
        print(f"{page_file.stat().st_size / 1e6:.1f} MB; loaded: {_busy(page):.1f} s of processor time")
        best: dict[str, int] = {}
        swaps = []
        for _ in range(times):
            page.run(f"{STATUS} = ''; document.getElementById('example').click()")
            page.wait(f"{STATUS} === 'Ready to swap.'", 300)
            before = _busy(page)
            page.run(f"{STATUS} = ''; document.getElementById('swap').click()")
            page.wait(f"{STATUS} === 'Swapped.'", 300)
            swaps.append(_busy(page) - before)
            for step, value in page.run(TIMES):
                took = int(value.split()[0])
                best[step] = min(took, best.get(step, took))
        print("least of", times, "by the clock:", ", ".join(f"{step} {ms} ms" for step, ms in best.items()))
        least, first = min(swaps) * 1000, swaps[0] * 1000
        print(f"embed, swap and paste: {least:.0f} ms of processor time, {first:.0f} the first time")
        print(f"peak memory of the page's process: {_peak(page):.0f} MB")
    finally:
        page.close()


if __name__ == "__main__":
    main()
