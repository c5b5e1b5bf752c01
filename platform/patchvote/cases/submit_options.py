"""Limits and translated texts for the submit page's script, so that it refuses at once what the server would refuse."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from classifier.imaging.decode import Limits


def submit_options(limits: Limits) -> dict[str, Any]:
    """Return the options that `submit.js` reads from the page as JSON.

    Args:
        limits: The limits of one image.
    """
    return {
        "limits": {
            "bytes": limits.max_bytes,
            "pixels": limits.max_pixels,
            "side": limits.min_side,
            "images": settings.UPLOAD_MAX_IMAGES,
        },
        "texts": {
            "tooBig": _("larger than {limit}: export it with more compression, or send the region of interest"),
            "empty": _("the file is empty"),
            "wrongType": _("not a kind of image that can be read: send PNG, JPEG, TIFF, BMP or WebP"),
            "broken": _("cannot be opened as an image: it may be damaged, export it again"),
            "tooSmall": _("{width} × {height} pixels: both sides must have at least {limit}"),  # noqa: RUF001
            "tooManyPixels": _("{width} × {height} pixels are too many: send the region of interest"),  # noqa: RUF001
            "tooMany": _("A case may have at most {limit} images. Remove {extra}."),
            "remove": _("Remove {name}"),
            "badLeft": _("Remove the images marked as wrong first; nothing was sent."),
            "noPreview": _("no preview"),
            "sending": _("Sending: {percent} %"),
            "storing": _("Sent. The server is checking the images …"),
            "interrupted": _(
                "The connection was interrupted. Check in the history whether the case arrived. If not, send it again: "
                "your images are still listed here."
            ),
            "refused": _("The server refused the case ({status}). Reload the page and try again."),
        },
    }
