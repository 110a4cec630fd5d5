"""`report.html`: one file that shows what was run, how it went and what came out, made of the run folder's files alone."""
