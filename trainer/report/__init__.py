"""Reports of a run: charts of its metrics, a picture of one question, and the page.

In: a run folder and its view set. Out: report.html and PNG files."""
