"""Messages for users that the platform can translate."""

from __future__ import annotations


def gettext_noop(text: str) -> str:
    """Mark a text for translation and return it unchanged; the platform's `make messages` extracts these calls."""
    return text


class Message:
    """A sentence for users.

    Attributes:
        template: The English sentence as a `%`-format; the sentence itself where there are no values.
        values: The values of the template's placeholders.
    """

    def __init__(self, template: str, **values: object) -> None:
        """Store template and values separately, so that the template can be translated."""
        self.template = template
        self.values = values

    def __str__(self) -> str:
        """Return the sentence in English."""
        return self.template % self.values if self.values else self.template


class MessageError(ValueError):
    """An error whose text is a translatable message.

    Attributes:
        template: See `Message`.
        values: See `Message`.
    """

    def __init__(self, template: str, **values: object) -> None:
        """Store template and values separately, so that the template can be translated."""
        super().__init__(str(Message(template, **values)))
        self.template = template
        self.values = values
