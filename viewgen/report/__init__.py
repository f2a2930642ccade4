"""Reports: a view set in numbers (inspect), by a query (sql) and as a page to look at.

In: a view set. Out: text, JSON, CSV, or one HTML file. Imports no model library."""
