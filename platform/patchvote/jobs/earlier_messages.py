"""Messages that version 0.1 stored with failed jobs, so that pages still show them in the user's language."""

from django.utils.translation import gettext_noop

EARLIER_MESSAGES = (
    gettext_noop(
        "What worked on this died again and again without coming any further. The log has its last words. "
        "Where the machine's memory is short, a smaller network or batch size may help."
    ),
    gettext_noop("The worker stopped every time it worked on this. Tell an administrator."),
    gettext_noop("The data set cannot be used like this. Mend what is listed, or choose other options."),
    gettext_noop(
        "There is not enough memory for this. Choose a smaller batch size, a smaller network, or the frozen "
        "mode, or train on a machine with more memory."
    ),
    gettext_noop("The disk is full. Make room, then start this again: what is finished so far is kept."),
    gettext_noop("The archive cannot be used. Mend what is listed, and send it again."),
    gettext_noop("These options do not work. Choose others."),
    gettext_noop("The data set is not any more what it was when it was checked. Make a new version of it."),
)
"""Reworded in version 0.2. A job stores its message in English; the page translates it when it is shown."""
