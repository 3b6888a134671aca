"""output/data/report.html: what a person wants to see of a job that has ended, on one page.

Whatever is particular to an algorithm stands in ``containers/<name>/report.py``, whose ``sections(run)``
yields `common.report.page.Section`s. Only `tape` is imported before a job has ended.
"""
