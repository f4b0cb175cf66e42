"""Figures and names as a reader wants them: filters of the page's template. Pure."""

from __future__ import annotations

BENCHMARKS = {
    "scienceqa": "ScienceQA", "llava_bench": "LLaVA-Bench", "pope": "POPE", "mme": "MME",
    "captions": "Captions of photos",
}
ROWS = {
    "avg": "All questions",
    "all": "All questions",
    "nat": "Natural science",
    "soc": "Social science",
    "lan": "Language science",
    "txt": "With a text hint",
    "img": "With an image",
    "no": "With neither",
    "g1-6": "Grades 1 to 6",
    "g7-12": "Grades 7 to 12",
    "unseen_pair": "Pairs never trained on",
    "conv": "Conversation",
    "conversation": "Conversation",
    "detail": "Detailed description",
    "complex": "Complex reasoning",
    "question": "Question",
    "caption": "Caption",
    "with_people": "Photos with people",
    "without_people": "Photos without people",
}


def benchmark_name(name: str) -> str:
    """A benchmark as its authors write it."""
    return BENCHMARKS.get(name, name.replace("_", " "))


def row_name(name: str) -> str:
    """A row of a results table, or a kind of conversation."""
    return ROWS.get(name, name.replace("_", " "))


def score_name(name: str) -> str:
    """ "scienceqa/img" as words."""
    benchmark, _, row = name.partition("/")
    return f"{benchmark_name(benchmark)}, {row_name(row).lower()}" if row else benchmark_name(benchmark)


def figure(value: float | None, digits: int = 1) -> str:
    """A number with fixed decimals; a dash where there is none."""
    return "\N{EN DASH}" if value is None else f"{value:.{digits}f}"


def grade(value: float) -> str:
    """A judge's score: 7, or 6.5 from a judge who gives halves."""
    return f"{value:g}"


def signed(value: float, digits: int = 1) -> str:
    """A difference with its sign, a true minus."""
    return f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def probability(value: float | None) -> str:
    """A p-value: three decimals, or that it is below what they show."""
    if value is None:
        return "\N{EN DASH}"
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def count(value: int) -> str:
    """A number with thousands set apart."""
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def duration(seconds: float | None) -> str:
    """0.4 s, 12 s, 4 min 12 s, 3 h 05 min."""
    if seconds is None:
        return "\N{EN DASH}"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def money(usd: float | None) -> str:
    """Dollars, to the cent where that is enough."""
    if usd is None:
        return "\N{EN DASH}"
    return f"${usd:.2f}" if usd >= 1 or usd == 0 else f"${usd:.4f}"


def short(digest: str | None) -> str:
    """The first of a digest's letters."""
    return "\N{EN DASH}" if not digest else digest[:10]


def moment(iso: str | None) -> str:
    """ "2026-11-22T13:05:09+00:00" as "2026-11-22 13:05 UTC"."""
    return "\N{EN DASH}" if not iso else f"{iso[:10]} {iso[11:16]} UTC" if "T" in iso else iso
