"""`fstriplets evaluate`: figures of how good the parts are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import numpy as np

    from fstriplets.evaluation.edit_truth import TruthRow
    from fstriplets.evaluation.edits import PhotoRow
    from fstriplets.evaluation.smiles import SmileRow
    from fstriplets.evaluation.swaps import SwapRow
    from fstriplets.faces import FaceStage

__all__ = ["evaluate"]

#: People that are looked at for the grin, at most.
_SMILING = 40


@click.group()
def evaluate() -> None:
    """Measure how good the parts are, against truth and on real photos."""


@evaluate.command()
@click.argument("folders", nargs=-1, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--editor", "editors", multiple=True, metavar="NAME", help="Editor to measure; again for more.")
@click.option(
    "--edits", default="", metavar="NAMES", help="Comma-separated; all an editor can do by default."
)
@click.option(
    "--pairs", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR",
    help="Also against the truth: a folder of `synth pairs`, of which the held-out people are used.",
)  # fmt: skip
@click.option("--strengths", default="0.33,0.66,1.0", show_default=True, help="On photos, each in 0..1.")
@click.option("--faces", "count", default=40, show_default=True, help="Faces a folder; pairs an edit.")
@click.option("--json", "output", type=click.Path(path_type=Path), metavar="FILE", help="Write all figures.")
@click.option(
    "--sheet",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a PNG of faces, edits and strengths.",
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Pipeline keys, as in build.")
def edits(
    folders: Sequence[Path],
    editors: Sequence[str],
    edits: str,
    pairs: Path | None,
    strengths: str,
    count: int,
    output: Path | None,
    sheet: Path | None,
    overrides: Sequence[str],
) -> None:
    """Measure editors: against the truth (--pairs), and on the photos of FOLDERS, one folder a person.

    \b
      fstriplets evaluate edits --pairs pairs/ --editor flow-gan --editor warp
      fstriplets evaluate edits photos/ --editor flow-gan --sheet sheet.png

    On photos: share of edits the gates of the config accept, cosine of the installed recogniser to the
    unedited face, and whether a face changes more with more strength. Where people have the photos
    neutral.* and smiling.*, the grin is compared with their own smile.
    """
    from fstriplets.config import load_config

    if not folders and pairs is None:
        raise click.UsageError("give folders of photos, --pairs, or both")
    levels = _levels(strengths)
    _one_thread()
    names = editors or (load_config(None, list(overrides)).editor,)
    found: dict[str, Any] = {}
    if pairs is not None:
        found["truth"] = _truth(pairs, names, count, overrides, sheet if not folders else None)
    for folder in folders:
        for name in names:
            rows, smile = _photos(folder, name, edits, levels, count, overrides, sheet)
            found.setdefault("photos", []).extend(rows)
            if smile is not None:
                found.setdefault("smiles", []).append(smile)
    if output is not None:
        output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        click.echo(f"\nfigures: {output}")


@evaluate.command()
@click.argument("folders", nargs=-1, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--weights", metavar="FILE|DIR|NAME", help="The swapper.  [default: as of swap]")
@click.option(
    "--true-swaps", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR",
    help="Also against the truth: a dataset of `synth swaps`.",
)  # fmt: skip
@click.option("--split", default="test", show_default=True, help="Of the true swaps.")
@click.option("--samples", "count", default=64, show_default=True, help="Swaps, or people, a folder.")
@click.option(
    "--identity-strength", "strength", type=click.FloatRange(0, 2), default=1.0, show_default=True,
    help="As of swap.",
)  # fmt: skip
@click.option("--json", "output", type=click.Path(path_type=Path), metavar="FILE", help="Write all figures.")
@click.option("--sheet", type=click.Path(path_type=Path), metavar="FILE", help="Write a PNG of the swaps.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Pipeline keys, as in build.")
def swaps(
    folders: Sequence[Path],
    weights: str | None,
    true_swaps: Path | None,
    split: str,
    count: int,
    strength: float,
    output: Path | None,
    sheet: Path | None,
    overrides: Sequence[str],
) -> None:
    """Measure a swapper: against true swaps (--true-swaps), and between the people of FOLDERS.

    \b
      fstriplets synth swaps --people 40 --size 128 -o swaps/
      fstriplets evaluate swaps --true-swaps swaps/ --split train --weights runs/swap --sheet sheet.png
      fstriplets evaluate swaps photos/ --weights runs/swap

    Distances to the truth inside the face, cosine of the installed recogniser to source and target, and how
    far pose and expression are from the target's. Copying the target and the source stand beside it, and the
    truth, whose pose and expression tell what the measuring itself is worth.
    """
    if not folders and true_swaps is None:
        raise click.UsageError("give folders of photos, --true-swaps, or both")
    _one_thread()
    from fstriplets.config import load_config
    from fstriplets.evaluation.swaps import evaluate_photo_swaps, evaluate_true_swaps
    from fstriplets.faces import FaceStage
    from fstriplets.swapping.model import load_model
    from fstriplets.training.swap_features import load_features, load_identity

    model = load_model(weights)
    config = load_config(None, [f"image_size={model.size}", f"crop={model.crop}", *overrides])
    stage = FaceStage(config)
    found: dict[str, Any] = {}
    if true_swaps is not None:
        features = load_features("auto", model.crop, load_identity("face_embedder", model.crop))
        rows, pictures = evaluate_true_swaps(true_swaps, split, model, count, stage.embed, features, strength)
        click.echo(
            f"{model.name} on {rows[0].samples} true swaps of {true_swaps} ({split}), perceptual distance by"
            f" {features.origin.name}\n\n{_swap_table(rows)}\n"
        )
        found["truth"] = [asdict(row) for row in rows]
        if sheet is not None:
            _write(sheet, pictures.sheet())
    for folder in folders:
        rows, pictures = evaluate_photo_swaps(folder, config, stage, model, count, strength)
        click.echo(f"{model.name} on {rows[0].samples} people of {folder}\n\n{_swap_table(rows)}\n")
        found.setdefault("photos", []).append({"folder": folder.name, "rows": [asdict(row) for row in rows]})
        if sheet is not None:
            _write(sheet.with_name(f"{sheet.stem}-{folder.name}{sheet.suffix}"), pictures.sheet())
    if output is not None:
        output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        click.echo(f"\nfigures: {output}")


def _levels(text: str) -> list[float]:
    try:
        levels = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise click.BadParameter(
            f"{text!r}: give numbers such as 0.5,1.0", param_hint="--strengths"
        ) from error
    if not all(0 < level <= 1 for level in levels):
        raise click.BadParameter(f"{text}: strengths lie above 0 and up to 1", param_hint="--strengths")
    return levels


def _one_thread() -> None:
    """Times are for one core."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _stage(name: str, edits: str, overrides: Sequence[str]) -> tuple[Any, FaceStage]:
    """The config for an editor, and its face stage."""
    from fstriplets.config import load_config
    from fstriplets.edits.registry import load_editor
    from fstriplets.faces import FaceStage

    able = load_editor(name).edits
    wanted = [edit for edit in edits.split(",") if edit in able] if edits else sorted(able)
    config = load_config(None, [f"editor={name}", f"edits=[{','.join(wanted)}]", *overrides])
    return config, FaceStage(config)


def _truth(
    pairs: Path, names: Sequence[str], count: int, overrides: Sequence[str], sheet: Path | None
) -> list[dict[str, Any]]:
    from fstriplets.edits.registry import load_editor
    from fstriplets.evaluation.edit_truth import evaluate_truth
    from fstriplets.faces.attributes import load_scorer

    config, stage = _stage(names[0], "", overrides)
    able = [load_editor(name) for name in names]
    rows, pictures = evaluate_truth(pairs, able, count, stage.embed, load_scorer(config))
    click.echo(f"Against the truth: held-out people of {pairs}\n\n{_truth_table(rows)}\n")
    if sheet is not None:
        import numpy as np

        lines = [np.hstack(shown[:12]) for shown in pictures.values() if len(shown) >= 12]
        if lines:
            _write(sheet, np.vstack(lines))
    return [asdict(row) for row in rows]


def _photos(
    folder: Path,
    name: str,
    edits: str,
    levels: Sequence[float],
    count: int,
    overrides: Sequence[str],
    sheet: Path | None,
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    from fstriplets.evaluation.edits import evaluate_photos
    from fstriplets.evaluation.edits import sheet as draw
    from fstriplets.evaluation.smiles import evaluate_smiles
    from fstriplets.faces.attributes import load_scorer

    config, stage = _stage(name, edits, overrides)
    rows, faces, made = evaluate_photos(folder, name, config, stage, levels, count)
    click.echo(f"{name} on {len(faces)} faces of {folder}\n\n{_photo_table(rows)}\n")
    if sheet is not None:
        _write(sheet.with_name(f"{sheet.stem}-{name}-{folder.name}{sheet.suffix}"), draw(faces, made))
    smile = None
    if "grin" in config.edits:
        smile = evaluate_smiles(folder, config, stage, 1.0, _SMILING, load_scorer(config))
        if smile is not None:
            click.echo(_smile_line(smile) + "\n")
    return [asdict(row) for row in rows], None if smile is None else asdict(smile)


def _write(path: Path, picture: np.ndarray) -> None:
    from PIL import Image

    Image.fromarray(picture).save(path)
    click.echo(f"sheet: {path}")


def _table(head: str, lines: Iterable[Sequence[str]]) -> str:
    names = [name.strip() for name in head.split("|")]
    body = [" | ".join(line) for line in lines]
    rule = " | ".join("---" for _ in names)
    return "\n".join(f"| {line} |" for line in (" | ".join(names), rule, *body))


def _figure(value: float | None, form: str = "{:.2f}") -> str:
    return "–" if value is None else form.format(value)


def _truth_table(rows: Sequence[TruthRow]) -> str:
    head = "edit|editor|pairs|error (unedited)|SSIM (unedited)|outside|cosine (truth)|score rises by (truth)"
    return _table(
        head,
        (
            (
                row.edit, row.editor, str(row.pairs), f"{row.error:.1f} ({row.copied:.1f})",
                f"{row.likeness:.3f} ({row.copied_likeness:.3f})", f"{row.outside:.2f}",
                f"{_figure(row.cosine)} ({_figure(row.true_cosine)})",
                f"{_figure(row.rise, '{:+.2f}')} ({_figure(row.true_rise, '{:+.2f}')})",
            )
            for row in rows
        ),
    )  # fmt: skip


def _photo_table(rows: Sequence[PhotoRow]) -> str:
    head = "edit|strength|cosine|own score|accepted|changed|grows with strength|core ms|reasons"
    return _table(
        head,
        (
            (
                row.edit, f"{row.strength:g}", _figure(row.cosine), _figure(row.gained, "{:+.2f}"),
                f"{row.accepted:.0%}", f"{row.changed_area:.0%}", f"{row.growing:.0%}",
                f"{row.milliseconds:.0f}",
                ", ".join(f"{name} {n}" for name, n in row.reasons.items()),
            )
            for row in rows
        ),
    )  # fmt: skip


def _swap_table(rows: Sequence[SwapRow]) -> str:
    head = "answer|PSNR|error|perceptual|cosine to source|to target|pose off|expression off"
    return _table(
        head,
        (
            (
                row.answer, _figure(row.psnr), _figure(row.l1, "{:.1f}"), _figure(row.perceptual, "{:.3f}"),
                _figure(row.to_source), _figure(row.to_target), f"{row.pose:.1f}°", f"{row.expression:.3f}",
            )
            for row in rows
        ),
    )  # fmt: skip


def _smile_line(row: SmileRow) -> str:
    scores = [_figure(v) for v in (row.score_neutral, row.score_edited, row.score_smiling)]
    return (
        f"grin of {row.people} people: mouth to their own smiling photo {row.before:.3f} before,"
        f" {row.after:.3f} after (eye distances), nearer for {row.nearer:.0%};"
        f" smile score neutral {scores[0]}, edited {scores[1]}, smiling {scores[2]}"
    )
