"""What a person reads when a build ends: what was made, what was turned down and why, where to look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fstriplets.cli.progress import duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fstriplets.audit import Inspection
    from fstriplets.build import BuildReport

__all__ = ["inspection_lines", "print_summary", "size", "summary_lines"]

_MOST_REASONS = 6


def print_summary(report: BuildReport) -> None:
    """Print the summary of a build or a dry run to stdout."""
    click.echo("\n".join(summary_lines(report)))


def summary_lines(report: BuildReport) -> list[str]:
    """The summary as lines of text."""
    lines = _planned(report) if report.dry_run else _built(report)
    return [*lines, *_places(report)]


def _planned(report: BuildReport) -> list[str]:
    lines = [
        "dry run: nothing was written",
        f"  identities  {report.identities:,}",
        f"  photos      {report.photos:,}",
        f"  triplets    about {report.triplets:,}   {_counts(report.kinds)}",
        f"  shards      {_total(report.shards)}",
        f"  size        about {size(report.bytes)}",
    ]
    if report.estimate_seconds is not None:
        lines.append(f"  time        about {duration(report.estimate_seconds)} on this machine")
    return [*lines, *_identity(report.identity), *_rejects(report.rejects)]


def _built(report: BuildReport) -> list[str]:
    # A rate over shards of an earlier run would be nobody's.
    timed = report.seconds > 0 and not report.shards_resumed
    rate = f" ({report.triplets / report.seconds:,.0f}/s)" if timed else ""
    resumed = f", {report.shards_resumed:,} of them kept from an earlier run" if report.shards_resumed else ""
    lines = [
        f"done in {duration(report.seconds)}: {report.triplets:,} triplets{rate}",
        f"  identities  {report.identities:,}",
        f"  photos      {report.photos:,} → {report.faces:,} faces → {report.edits:,} edits",
        f"  triplets    {report.triplets:,}   {_counts(report.kinds)}",
        f"  shards      {_total(report.shards)}, {size(report.bytes)}{resumed}",
    ]
    if report.editor_share > 0:
        lines.append(f"  editors     {report.editor_share:.0%} of the workers' time")
    if report.quarantined:
        lines.append(
            f"  quarantined {len(report.quarantined)} photos that killed a worker: see manifests/photos"
        )
    if report.frozen:
        lines.append(
            f"  left out    {report.frozen:,} new photos of people whose shards exist (identity_frozen)"
        )
    lines += _identity(report.identity)
    return [*lines, *_rejects(report.rejects), *_better(report.better_weights)]


def inspection_lines(found: Inspection) -> list[str]:
    """What `fstriplets inspect` prints."""
    lines = [
        f"{found.dataset}: {found.ok('triplets'):,} triplets of {found.identities:,} people",
        f"  shards      {_total(found.shards)}, {size(found.bytes)}",
    ]
    groups = {
        "kinds": found.kinds,
        "edits": found.edits,
        "splits": found.splits,
        "licences": found.licences,
        "consent": found.consents,
        "weights": {name or "none used": count for name, count in found.weights_licences.items()},
    }
    lines += [f"  {name:<11} {_counts(_named(counts))}" for name, counts in groups.items() if counts]
    lines.append("")
    for manifest in ("photos", "faces", "edits", "triplets"):
        total, ok = found.total(manifest), found.ok(manifest)
        share = f" ({ok / total:.0%})" if total else ""
        lines.append(f"  {manifest:<11} {ok:,} of {total:,} accepted{share}")
        ranked = sorted(found.reasons.get(manifest, {}).items(), key=lambda item: (-item[1], item[0]))
        lines += [f"  {'':<11} {count:>9,} {reason}" for reason, count in ranked]
    return lines


def _named(counts: Mapping[str, int]) -> dict[str, int]:
    """An empty licence or consent is an answer too."""
    return {name or "none on record": count for name, count in counts.items()}


def _identity(identity: Mapping[str, Any]) -> list[str]:
    """Who says who is who, and at which cosines."""
    limits = [f"{name} {value:g}" for name, value in identity.items() if name != "recogniser"]
    return [f"  identity    {identity['recogniser']}: {', '.join(limits)}"] if identity else []


def _rejects(rejects: Mapping[str, Mapping[str, int]]) -> list[str]:
    """One line a manifest, the most frequent reasons first."""
    lines = []
    for manifest, reasons in rejects.items():
        ranked = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
        text = ", ".join(f"{count:,} {reason}" for reason, count in ranked[:_MOST_REASONS])
        more = len(ranked) - _MOST_REASONS
        if text:
            lines.append(f"  rejected    {manifest}: {text}{f', {more} more reasons' if more > 0 else ''}")
    return lines


def _better(weights: Mapping[str, str]) -> list[str]:
    """Bundled weights have seen synthetic faces only: what does better on photos of people."""
    if not weights:
        return []
    from fstriplets.models.weights import entry

    public = sorted(set(weights.values()))
    pull = [name for name in public if entry(name).url]
    commands = [f"fstriplets weights pull {' '.join(pull)}"] if pull else []
    if len(pull) < len(public):
        commands.append("fstriplets weights import FOLDER (see: fstriplets weights list)")
    return [
        f"  weights     bundled: {', '.join(sorted(weights))}; on photos of real people"
        f" {', '.join(public)} do better:",
        *(f"              {command}" for command in commands),
    ]


def _places(report: BuildReport) -> list[str]:
    if report.dry_run:
        return []
    folder = report.output.rstrip("/")
    lines = ["", f"  shards      {folder}/shards/", f"  manifests   {folder}/manifests/"]
    if report.report:
        lines.append(f"  report      {report.report}")
    return [*lines, "", f"  look at it: fstriplets inspect {folder} --sheet sheet.png"]


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _total(shards: Mapping[str, int]) -> str:
    return f"{sum(shards.values()):,} ({_counts(shards)})" if shards else "0"


def size(count: float) -> str:
    """Bytes for people: `812 KB`, `3.4 GB` (powers of 1,000)."""
    for unit in ("bytes", "KB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:,.0f} {unit}" if count >= 10 or unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")
