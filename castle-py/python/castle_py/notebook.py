"""What a notebook shows. Only plain HTML with its own style: it reads in light
and dark themes, and stays as it is when the notebook is exported."""

from collections.abc import Iterable, Sequence
from html import escape

from castle_py._castle import Project, Report, Status

__all__ = ["project_html", "report_html", "status_html"]

_CELL = "text-align:left;padding:1px 10px 1px 0;vertical-align:top"
_CRITICAL, _OTHER, _BAD = "#d9730d", "#8a94a6", "#d64545"


def project_html(project: Project) -> str:
    """The declaration: one row for each machine."""
    cluster = project.cluster
    title = f"{cluster.name}: Talos {cluster.talos}, Kubernetes {cluster.kubernetes}"
    rows = [
        (m.name, m.role, m.id, m.host, m.address, m.cores, f"{m.memory_bytes / 2**30:g} GiB") for m in project.machines
    ]
    notes = [f"{warning.severity}: {warning}" for warning in project.warnings]
    return _page(title, [_table(("node", "role", "id", "host", "address", "cores", "memory"), rows), _notes(notes)])


def status_html(status: Status) -> str:
    """What stands: one row for each declared machine."""
    life = "no life yet" if status.life is None else f"life {status.life}, {status.life_state}"
    title = f"{status.cluster}: {'lives not known' if 'lives' in status.unknown else life}"
    rows = [(m.name, m.id, m.state, m.address, m.standing or "") for m in status.machines]
    notes = [f"{part} not known: {why}" for part, why in status.unknown.items()]
    return _page(title, [_table(("node", "id", "state", "address", "standing"), rows), _notes(notes)])


def report_html(report: Report) -> str:
    """The run: its end, its cost, and a timeline with the critical path."""
    ideal = "" if report.ideal_seconds is None else f", ideal {report.ideal_seconds:.1f} s"
    title = f"{report.goal} {report.outcome}: {report.simulated_seconds:.1f} s{ideal}"
    cost = [f"{name}: {count['read']} read, {count['write']} written" for name, count in report.requests.items()]
    notes = [f"{problem.severity}: {problem}" for problem in report.problems]
    if report.error is not None:
        notes.insert(0, str(report.error))
    return _page(title, [_notes(["; ".join(cost)]), _timeline(report), _notes(notes)], bad=report.outcome != "ok")


def _timeline(report: Report) -> str:
    end = max((step["end"] for step in report.steps), default=0.0)
    if end <= 0:
        return _notes(["nothing had to be done"])
    rows = []
    for step in report.steps:
        colour = _BAD if step["outcome"] == "failed" else _CRITICAL if step["critical"] else _OTHER
        left, width = 100 * step["start"] / end, 100 * (step["end"] - step["start"]) / end
        bar = (
            f'<div style="margin-left:{left:.2f}%;width:{width:.2f}%;min-width:2px;height:0.8em;'
            f'background:{colour};border-radius:2px"></div>'
        )
        took = f"{step['end'] - step['start']:.1f} s"
        outcome = "" if step["outcome"] in ("done", "skipped") else f" {step['outcome']}"
        rows.append(
            f'<tr><td style="{_CELL};white-space:nowrap">{escape(step["id"])}</td>'
            f'<td style="width:60%;vertical-align:middle">{bar}</td>'
            f'<td style="{_CELL};padding-left:10px;white-space:nowrap">{escape(took + outcome)}</td></tr>'
        )
    path = escape(" > ".join(report.critical_path))
    legend = f'<div><span style="color:{_CRITICAL}">&#9632;</span> critical path: {path}</div>'
    return f'<table style="width:100%;max-width:900px;border-collapse:collapse">{"".join(rows)}</table>{legend}'


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    def row(tag: str, cells: Sequence[object]) -> str:
        return "<tr>" + "".join(f'<{tag} style="{_CELL}">{escape(str(cell))}</{tag}>' for cell in cells) + "</tr>"

    body = "".join(row("td", cells) for cells in rows)
    return f'<table style="border-collapse:collapse">{row("th", head)}{body}</table>'


def _notes(lines: Iterable[str]) -> str:
    return "".join(f'<div style="white-space:pre-wrap">{escape(line)}</div>' for line in lines if line)


def _page(title: str, parts: Iterable[str], bad: bool = False) -> str:
    colour = f";color:{_BAD}" if bad else ""
    return f'<div><div style="font-weight:bold{colour}">{escape(title)}</div>{"".join(parts)}</div>'
