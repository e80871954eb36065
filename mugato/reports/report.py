"""Write an evaluation's results as Markdown and as a page, beside its `report.json`."""

from mugato.evaluation.results import EvaluationResults
from mugato.reports.html import report_html
from mugato.reports.markdown import report_markdown
from mugato.system.files import write_whole
from mugato.training.run_info import read_metrics

MARKDOWN, HTML = "report.md", "report.html"


def write_report(results: EvaluationResults) -> None:
    """Write both files into the run's folder, each whole or not at all.

    Raises:
        OSError: naming the file that could not be written.
    """
    run, data = results.plan.run, results.to_json()
    page = report_html(data, results, read_metrics(run))
    for name, text in ((HTML, page), (MARKDOWN, report_markdown(data))):
        write_whole(run / name, lambda path, text=text: path.write_text(text, "utf-8"))
