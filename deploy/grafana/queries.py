"""What panels ask of Prometheus, as PromQL."""  # noqa: INP001  (beside a script, not a package)

from collections.abc import Sequence


def rate(metric: str, by: str = "", where: str = "") -> str:
    """How much more a second, summed over replicas."""
    over = f" by ({by})" if by else ""
    chosen = f"{{{where}}}" if where else ""
    return f"sum{over} (rate({metric}{chosen}[$__rate_interval]))"


def share(part: str, whole: str) -> str:
    """The part of a whole; 0 where nothing of it was ever counted."""
    return f"({part} or 0 * {whole}) / {whole}"


def quantile(below: float, metric: str, by: str = "", where: str = "") -> str:
    """The value that so large a part stays below."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({below}, {rate(f'{metric}_bucket', labels, where)})"


def quantiles(metric: str, where: str = "", parts: Sequence[float] = (0.5, 0.95, 0.99)) -> dict[str, str]:
    """Several of them."""
    return {f"p{below * 100:g}": quantile(below, metric, where=where) for below in parts}
