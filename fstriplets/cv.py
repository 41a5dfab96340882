"""One place that explains why OpenCV does not import.

`opencv-python` links against libGL, which bare servers and containers lack; `opencv-python-headless` is
the same library without windows. Files that need OpenCV write a plain `import cv2`; the command line
and the entry points of workers call `require_cv2` first, so that the user reads one line, not a
traceback.
"""

from __future__ import annotations

from fstriplets.errors import UserError

__all__ = ["OpenCVUnavailable", "explain_cv2", "require_cv2"]


class OpenCVUnavailable(UserError):
    """OpenCV is missing or cannot find a system library; the message is the way out."""


def explain_cv2(error: ImportError) -> OpenCVUnavailable | None:
    """The one-line reason behind a failed `import cv2`, or None when `error` is about something else."""
    text = str(error)
    if "libGL" in text or "libgthread" in text or "libEGL" in text:
        return OpenCVUnavailable(
            f"OpenCV cannot load a system library ({text.split(':')[0].strip()}):"
            " pip uninstall -y opencv-python; pip install opencv-python-headless"
            "   (or: apt-get install libgl1 libglib2.0-0)"
        )
    if getattr(error, "name", None) == "cv2":
        return OpenCVUnavailable("OpenCV is not installed: pip install opencv-python-headless")
    return None


def require_cv2() -> None:
    """Import cv2 once, so that a broken installation is told before work starts.

    Raises:
        OpenCVUnavailable: with the command that helps.
    """
    try:
        import cv2  # noqa: F401
    except ImportError as error:
        explained = explain_cv2(error)
        if explained is None:
            raise
        raise explained from error
