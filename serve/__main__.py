"""``python -m serve`` is `serve`."""

from serve.server import main

main()
