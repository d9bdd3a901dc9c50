"""What a notebook shows: plain HTML with a style of its own, and nothing from outside.

Text has the colour of the page around it, lines and shades are mixed from that colour, and the few colours with a
meaning are legible on white and on black: so it reads in light and dark themes, narrow and wide, also when the
notebook is exported.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from castle_py._castle import Plan, Project, Report, Status

__all__ = ["plan_html", "project_html", "report_html", "status_html"]

# A cell of more letters is folded; shorter ones stay whole, and a narrow page scrolls.
_LONG = 44

_STYLE = """<style>
.castle{color:inherit;font:inherit;line-height:1.45;max-width:920px;overflow-wrap:anywhere}
.castle-title{font-weight:600;margin:2px 0 4px}
.castle-bad{color:#d64545}.castle-good{color:#2e9e5b}.castle-hot{color:#d9730d}
.castle-scroll{overflow-x:auto}
.castle .castle-table{border-collapse:collapse;margin:2px 0 6px;color:inherit;font-size:inherit;overflow-wrap:normal}
.castle .castle-table tr,.castle .castle-table tbody tr:nth-child(n){background:none}
.castle .castle-table th,.castle .castle-table td{text-align:left;padding:2px 16px 2px 0;vertical-align:top;
color:inherit;border:0;white-space:nowrap;max-width:none;word-break:normal}
.castle .castle-table thead th{font-weight:600;border-bottom:1px solid color-mix(in srgb,currentColor 25%,transparent)}
.castle .castle-table td.castle-long{white-space:normal;min-width:18em}
.castle-note{white-space:pre-wrap;opacity:.85}
.castle-step{display:grid;grid-template-columns:minmax(9em,17em) 1fr 8em;gap:0 10px;align-items:center}
.castle-name{overflow:hidden;text-overflow:ellipsis;white-space:nowrap;overflow-wrap:normal}
.castle-track{background:color-mix(in srgb,currentColor 8%,transparent);border-radius:3px;height:.8em}
.castle-bar{height:100%;min-width:3px;border-radius:3px;background:#7d8aa0}
.castle-bar-hot{background:#d9730d}.castle-bar-bad{background:#d64545}
.castle-took{white-space:nowrap;font-variant-numeric:tabular-nums}
@media(max-width:600px){.castle-step{grid-template-columns:1fr 5em}.castle-track{grid-column:1/-1;grid-row:2}
.castle-took{text-align:right}}
</style>"""


def project_html(project: Project) -> str:
    """The declaration: one row for each machine."""
    cluster = project.cluster
    title = f"{cluster.name}: Talos {cluster.talos}, Kubernetes {cluster.kubernetes}"
    rows = [
        (m.name, m.role, m.id, m.host, m.address, m.cores, f"{m.memory_bytes / 2**30:g} GiB") for m in project.machines
    ]
    notes = [f"{warning.severity}: {warning}" for warning in project.warnings]
    return _page(title, [_table(("node", "role", "id", "host", "address", "cores", "memory"), rows), _notes(notes)])


def plan_html(plan: Plan) -> str:
    """What should happen: one row for each change, then the steps."""
    state = "nothing to do" if plan.is_done and not plan.is_refused else "refused" if plan.is_refused else plan.summary
    rows = [(change["symbol"], change["subject"], change["detail"], change["disruption"]) for change in plan.changes]
    changes = _table(("", "what", "how", "disruption"), rows) if rows else ""
    steps = [(step["id"], step["because"], ", ".join(step["needs"])) for step in plan.records()]
    folded = f"<details><summary>{len(steps)} steps</summary>{_table(('step', 'because', 'after'), steps)}</details>"
    told = [f"{found.severity}: {found}" + (f"\n    {found.hint}" if found.hint else "") for found in plan.problems]
    return _page(
        f"plan to {plan.goal}: {state}", [_notes(told), changes, folded if steps else ""], bad=plan.is_refused
    )


def status_html(status: Status) -> str:
    """What stands: one row for each declared machine, and how far the handover is."""
    life = "no life yet" if status.life is None else f"life {status.life}, {status.life_state}"
    title = f"{status.cluster}: {'lives not known' if 'lives' in status.unknown else life}"
    ready = {node["name"]: "ready" if node["ready"] else node["why_not"] or "not ready" for node in status.nodes}
    rows = [(m.name, m.id, m.state, ready.get(m.name, ""), m.address, m.standing or "") for m in status.machines]
    notes = [f"{part} not known: {why}" for part, why in status.unknown.items()]
    parts = [_table(("node", "id", "machine", "node is", "address", "standing"), rows)]
    if status.handover is not None:
        webhooks = status.handover["webhooks"]
        answer = sum(1 for webhook in webhooks if webhook["health"]["state"] == "ready")
        told = "complete" if status.handover["handed_over"] else status.handover["why_not"]
        parts.append(_notes([f"handover: {told}; {answer} of {len(webhooks)} webhooks answer"]))
    if status.answered:
        parts.append(_notes([f"answered: {', '.join(status.answered)}"]))
    return _page(title, [*parts, _notes(notes)])


def report_html(report: Report) -> str:
    """The run: its end, its cost, and a timeline with the critical path."""
    ideal = "" if report.ideal_seconds is None else f", ideal {report.ideal_seconds:.1f} s"
    title = f"{report.goal} {report.outcome}: {report.simulated_seconds:.1f} s{ideal}"
    cost = [
        f"{name}: {count['read']} read, {count['write']} written"
        for name, count in report.requests.items()
        if count["read"] or count["write"]
    ]
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
        kind = " castle-bar-bad" if step["outcome"] == "failed" else " castle-bar-hot" if step["critical"] else ""
        left, width = 100 * step["start"] / end, 100 * (step["end"] - step["start"]) / end
        outcome = "" if step["outcome"] in ("done", "skipped") else f" {step['outcome']}"
        took = f"{step['end'] - step['start']:.1f} s{outcome}"
        told = f"from {step['start']:.1f} s to {step['end']:.1f} s" + "".join(f"\n{why}" for why in step["waits"])
        rows.append(
            f'<div class="castle-step" title="{escape(told)}"><div class="castle-name">{escape(step["id"])}</div>'
            f'<div class="castle-track"><div class="castle-bar{kind}" style="margin-left:{min(left, 99.5):.2f}%;'
            f'width:{width:.2f}%"></div></div>'
            f'<div class="castle-took">{escape(took)}</div></div>'
        )
    path = escape(" > ".join(report.critical_path))
    legend = f'<div><span class="castle-hot">&#9632; critical path:</span> {path}</div>'
    return f"{''.join(rows)}{legend}"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    def cell(tag: str, value: object) -> str:
        long = ' class="castle-long"' if len(str(value)) > _LONG else ""
        return f"<{tag}{long}>{escape(str(value))}</{tag}>"

    def row(tag: str, cells: Sequence[object]) -> str:
        return "<tr>" + "".join(cell(tag, value) for value in cells) + "</tr>"

    body = "".join(row("td", cells) for cells in rows)
    head_row = row("th", head)
    return (
        f'<div class="castle-scroll"><table class="castle-table"><thead>{head_row}</thead><tbody>{body}</tbody></table></div>'
    )


def _notes(lines: Iterable[str]) -> str:
    return "".join(f'<div class="castle-note">{escape(line)}</div>' for line in lines if line)


def _page(title: str, parts: Iterable[str], bad: bool = False) -> str:
    colour = " castle-bad" if bad else ""
    return f'<div class="castle">{_STYLE}<div class="castle-title{colour}">{escape(title)}</div>{"".join(parts)}</div>'
