"""The documentation's site: pages made of manifests, declarations and READMEs, and the pictures of examples.

`mkdocs.yml` names `hook.py`, which adds the pages; ``python -m docs_site.pictures`` draws the pictures anew.
"""
