"""How good the parts are: figures against the truth of synthetic faces, and on real photos."""

from __future__ import annotations

from fstriplets.lazy import lazy_exports

__all__, __getattr__ = lazy_exports(
    __name__,
    {
        "PhotoRow": "edits",
        "SmileRow": "smiles",
        "SwapRow": "swaps",
        "TruthRow": "edit_truth",
        "evaluate_photo_swaps": "swaps",
        "evaluate_photos": "edits",
        "evaluate_smiles": "smiles",
        "evaluate_true_swaps": "swaps",
        "evaluate_truth": "edit_truth",
    },
)
