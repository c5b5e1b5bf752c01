"""Durations in words, in both languages."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.utils.translation import override

from patchvote.training.durations import in_words


@pytest.mark.parametrize(
    ("seconds", "english", "spanish"),
    [
        (None, "", ""),
        (0.2, "1 second", "1 segundo"),
        (44.6, "45 seconds", "45 segundos"),
        (59.9, "1 minute", "1 minuto"),
        (61, "1 minute", "1 minuto"),
        (5_710, "1 hour and 35 minutes", "1 hora y 35 minutos"),
        (7_190, "2 hours", "2 horas"),
        (8_000, "2 hours", "2 horas"),
        (109_000, "1 day and 6 hours", "1 día y 6 horas"),
        (3 * 86_400, "3 days", "3 días"),
    ],
)
def test_durations_are_rounded(seconds: float | None, english: str, spanish: str) -> None:
    assert in_words(seconds) == english
    with override("es"):
        assert in_words(seconds) == spanish
    assert in_words(seconds) == english


def test_threads_have_languages_of_their_own() -> None:
    start = Barrier(2)

    def words(language: str) -> set[str]:
        with override(language):
            start.wait()
            return {in_words(120) for _ in range(200)}

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(words, ["en", "es"])) == [{"2 minutes"}, {"2 minutos"}]
