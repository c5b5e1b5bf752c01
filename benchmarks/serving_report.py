"""The report of the serving benchmark: tables, ratios, and the target of each."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import click
import numpy as np


def print_report(figures: dict[str, Any]) -> None:
    """Print the measurements, and store the ratios under `ratios`."""
    bare, precision = _bare(figures)
    click.echo(f"\nbare forward pass, images per second (the platform computes on {figures['engine']}):")
    for name, batches in bare.items():
        cells = ", ".join(f"{rate:.2f} in batches of {batch}" for batch, rate in batches.items())
        click.echo(f"  {name:10} {cells}")
    thesis = statistics.median(figures["thesis"])
    click.echo(f"the thesis's way, images per second: {thesis:.2f}")
    _print_clients(figures, thesis, max(max(rates.values()) for rates in bare.values()))
    _print_uploads(figures["uploads"])
    _print_ratios(figures, bare, precision)


def _bare(figures: dict[str, Any]) -> tuple[dict[str, dict[int, float]], str]:
    """Return medians by precision and batch, and the platform's precision if it was measured, else the best."""
    turns = figures["bare"]
    bare = {
        name: {batch: statistics.median(turn[name][batch] for turn in turns) for batch in rates}
        for name, rates in turns[0].items()
    }
    chosen = figures["engine"].rpartition(" ")[2]
    return bare, chosen if chosen in bare else max(bare, key=lambda name: max(bare[name].values()))


def _print_clients(figures: dict[str, Any], thesis: float, ceiling: float) -> None:
    click.echo("\nthe platform, closed loop; times in ms:")
    click.echo(
        f"{'clients':>8}{'images/s':>10}{'x thesis':>10}{'of bare':>9}"
        f"{'verdict 50%':>13}{'95%':>8}{'upload 50%':>12}{'95%':>7}{'99%':>7}"
    )
    for clients, turns in figures["platform"].items():
        rate = statistics.median(turn["rate"] for turn in turns)
        verdict, upload = _pooled(turns, "verdict"), _pooled(turns, "upload")
        click.echo(
            f"{clients:>8}{rate:>10.2f}{rate / thesis:>10.1f}{rate / ceiling:>9.0%}"
            f"{_ms(verdict, 50):>13}{_ms(verdict, 95):>8}{_ms(upload, 50):>12}{_ms(upload, 95):>7}{_ms(upload, 99):>7}"
        )
    click.echo("\nwhere the time of an image goes, medians in ms, and processor time of an image by process:")
    for clients, turns in figures["platform"].items():
        parts = ", ".join(f"{part} {_ms(_pooled(turns, key), 50)}" for key, part in _PARTS.items())
        names = turns[0]["cpu_ms"]
        used = {name: statistics.median(turn["cpu_ms"].get(name, 0.0) for turn in turns) for name in names}
        cpu = ", ".join(f"{name} {value:.1f}" for name, value in used.items())
        click.echo(f"{clients:>8} clients: {parts}; processor: {cpu}")


_PARTS = {"until_queued": "sent to queued", "until_claimed": "queued to claimed", "until_stored": "claimed to stored"}


def _print_uploads(turns: Sequence[dict[str, Any]]) -> None:
    if not turns:
        return
    upload = _pooled(turns, "upload")
    click.echo(
        f"\nuploads at a steady {turns[0]['rate']:.2f} images per second, with at least "
        f"{min(turn['least_waiting'] for turn in turns)} images waiting: median {_ms(upload, 50)} ms, "
        f"95 % {_ms(upload, 95)} ms, 99 % {_ms(upload, 99)} ms (aim: 95 % within 150 ms)"
    )


def _print_ratios(figures: dict[str, Any], bare: dict[str, dict[int, float]], precision: str) -> None:
    fullest, fewest = max(figures["platform"]), min(figures["platform"])
    turns = figures["platform"][fullest]
    ceilings = [max(max(rates.values()) for rates in turn.values()) for turn in figures["bare"]]
    own = [max(turn[precision].values()) for turn in figures["bare"]]
    once = 1 / bare[precision][min(bare[precision])]
    overhead = statistics.median(_pooled(figures["platform"][fewest], "verdict")) - once
    figures["ratios"] = ratios = {
        "thesis": _ratio(turns, figures["thesis"]),
        "bare": _ratio(turns, ceilings),
        "bare_same_precision": _ratio(turns, own),
        "above_bare_ms": 1000 * overhead,
    }
    click.echo(f"\nplatform / the thesis's way, {fullest} clients: {ratios['thesis']:.2f} (aim: 6, later 10)")
    click.echo(f"platform / the bare pass, {fullest} clients: {ratios['bare']:.2f} (aim: 0.85)")
    click.echo(f"  in the platform's number format, {precision}: {ratios['bare_same_precision']:.2f}")
    click.echo(
        f"one image, {fewest} client{'s' if fewest > 1 else ''}: verdict after the bare pass's {1000 * once:.0f} ms "
        f"plus {1000 * overhead:.0f} ms (aim: 150)"
    )


def _ratio(turns: Sequence[dict[str, Any]], others: Sequence[float]) -> float:
    return statistics.median(float(turn["rate"]) / other for turn, other in zip(turns, others, strict=True))


def _pooled(turns: Sequence[dict[str, Any]], name: str) -> list[float]:
    return [seconds for turn in turns for seconds in turn[name]]


def _ms(seconds: Sequence[float], percent: int) -> str:
    return f"{1000 * np.percentile(seconds, percent):.0f}" if seconds else "-"
