"""The routes: Flask round the jobs of a folder."""

from __future__ import annotations

import itertools
import shlex
import time

from flask import Flask, Response, abort, make_response, redirect, render_template, request, send_file
from markupsafe import Markup
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as Answer

from common.failures import AlgorithmError, ClientError
from common.report import page
from common.report.writing import duration
from local.tuning import describing
from local.tuning.trials import Trial
from local.ui import answers, curves, guarding, requests
from local.ui.endpoints import Endpoints
from local.ui.folders import LOG
from local.ui.jobs import DOWNLOADS, RUNNING, Entry, Job, Tuning
from local.ui.store import OUTCOMES, Store

_SHOWN = 200  # rows of the list
_TRIALS = 10  # that the list shows of a tuning
_FORM = requests.MEBIBYTE  # what a form may have beside its body


def create(store: Store, endpoints: Endpoints, host: str) -> Flask:
    """The app. ``host`` is the address it listens on."""
    app = Flask(__name__)
    # A body may be in the text's field and in a file.
    app.config["MAX_CONTENT_LENGTH"] = 2 * requests.LARGEST + _FORM
    app.config["MAX_FORM_MEMORY_SIZE"] = requests.LARGEST + _FORM
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters |= {
        "when": _when,
        "duration": duration,
        "number": page.number,
        "breakable": lambda name: Markup(page.breakable(name)),
        "shell": shlex.quote,
    }

    @app.before_request
    def _guard() -> Answer | None:
        refusal = guarding.refusal(request, host)
        return None if refusal is None else _trouble(403, refusal)

    app.after_request(guarding.protect)

    @app.errorhandler(HTTPException)
    def _failed(error: HTTPException) -> Answer:
        if error.code == 413:
            return _trouble(413, "what was sent is too large; accepted: up to 6 MB")
        return _trouble(error.code or 500, error.description or error.name)

    @app.errorhandler(ClientError)
    @app.errorhandler(AlgorithmError)
    def _told(error: ClientError | AlgorithmError) -> Answer:
        return _trouble(error.status, str(error))

    @app.get("/style.css")
    def style() -> Answer:
        return _fresh(Response(page.STYLE, mimetype="text/css"))

    @app.get("/")
    def jobs() -> Answer:
        words = request.args.get("q", "").lower().split()
        found = (row for entry in store.entries() for row in _rows(entry, words))
        rows = list(itertools.islice(found, _SHOWN))
        return _page(
            "list",
            rows=rows,
            older=next(found, None) is not None,
            asked=request.args.get("q", ""),
            folder=store.root,
        )

    @app.get("/jobs/<path:key>")
    def job(key: str) -> Answer:
        found = _entry(key)
        return _tuning_page(found) if isinstance(found, Tuning) else _job_page(found)

    @app.get("/jobs/<path:key>/report")
    def report(key: str) -> Answer:
        written = _entry(key).report()
        if written is None:
            abort(404, "There is no report; jobs write it when they end.")
        response = Response(written, mimetype="text/html")
        response.headers["Content-Security-Policy"] = guarding.SANDBOX
        return _fresh(response)

    @app.get("/jobs/<path:key>/log")
    def log(key: str) -> Answer:
        path = _job(key).file(LOG)
        if path is None:
            abort(404, "There is no log.")
        return send_file(path, mimetype="text/plain; charset=utf-8", max_age=0)

    @app.get("/jobs/<path:key>/files/<name>")
    def file(key: str, name: str) -> Answer:
        path = _job(key).file(name) if name in DOWNLOADS else None
        if path is None:
            abort(404, "There is no such file.")
        return send_file(path, "application/octet-stream", as_attachment=True, download_name=name, max_age=0)

    @app.get("/jobs/<path:key>/try")
    def attempt(key: str) -> Answer:
        return _try_page(_served(key))

    @app.post("/jobs/<path:key>/try")
    def ask(key: str) -> Answer:
        found = _served(key)
        begun = time.monotonic()
        body, filename = _body()
        assert found.manifest
        spec = found.manifest.inference
        kind = request.form.get("content_type", "")
        kind = kind if kind in spec.content_types else requests.content_type(found.manifest, body, filename)
        accept = request.form.get("accept", "")
        if not body.strip():
            return _try_page(found, _failure("nothing was sent; accepted: a text or a file"), 400)
        if len(body) > requests.LARGEST:
            return _try_page(found, _failure(f"{len(body):,} bytes are too many; accepted: up to 6 MB"), 413)
        try:
            answer = endpoints.ask(found, body, kind, accept if accept in spec.accepts else None)
        except (ClientError, AlgorithmError) as error:
            # The type may have been guessed; without it the endpoint's words could mislead.
            return _try_page(found, _soft(f"Sent as {kind}.") + _failure(str(error)), error.status)
        told = _soft(f"Sent as {kind}, answered in {duration(time.monotonic() - begun)}.")
        return _try_page(found, told + answers.shown(answer, body))

    @app.post("/jobs/<path:key>/try/start")
    def start(key: str) -> Answer:
        endpoints.start(_served(key))
        return redirect(f"../try{_part_asked()}", 303)

    @app.post("/jobs/<path:key>/try/stop")
    def stop(key: str) -> Answer:
        endpoints.stop(_served(key))
        return redirect(f"../try{_part_asked()}", 303)

    def _entry(key: str) -> Entry:
        found = store.get(key)
        if found is None:
            abort(404, "There is no such job here.")
        return found

    def _job(key: str) -> Job:
        found = _entry(key)
        if not isinstance(found, Job):
            abort(404, "That is a tuning; each of its trials is a job.")
        return found

    def _served(key: str) -> Job:
        found = _job(key)
        if not found.has_model:
            abort(404, "There is no model to try yet.")
        return found

    def _job_page(found: Job) -> Answer:
        above = store.get(found.key.rpartition("/")[0])
        return _page(
            "job",
            job=found,
            tuning=above if isinstance(above, Tuning) else None,
            figures=curves.figures(found),
            finals=curves.finals(found),
            progress=curves.told(found).progress,
            tail=curves.tail(found),
            tail_lines=curves.TAIL,
            files=[(name, path.stat().st_size) for name in DOWNLOADS if (path := found.file(name))],
        )

    def _tuning_page(found: Tuning) -> Answer:
        ranked = describing.ranked(found.objective, found.trials)
        jobs = {job.name: job for job in found.jobs}
        names = list(dict.fromkeys(name for trial in found.trials for name in trial.values))
        rows = [(trial, jobs.get(trial.name), _outcome(trial, jobs.get(trial.name))) for trial in ranked]
        return _page("tuning", tuning=found, rows=rows, names=names)

    def _try_page(found: Job, answer: Markup | None = None, status: int = 200) -> Answer:
        assert found.manifest
        if answer is not None and request.args.get("part"):
            return make_response(_sent(answer), status)
        spec = found.manifest.inference
        return _page(
            "try",
            status,
            job=found,
            spec=spec,
            state=endpoints.state(found),
            answer=answer,
            hint=requests.hint(found, spec),
            body=request.form.get("body", requests.example(found)),
            pictures=any(kind.startswith("image/") for kind in spec.content_types),
        )

    return app


def _rows(entry: Entry, words: list[str]) -> list[dict[str, object]]:
    """An entry's rows of the list: its own, and of a tuning the first of its trials, the best first."""
    if isinstance(entry, Job):
        return [_row(entry)] if _matches(words, entry.key, entry.algorithm, entry.status) else []
    jobs = {job.name: job for job in entry.jobs}
    ranked = [jobs[t.name] for t in describing.ranked(entry.objective, entry.trials) if t.name in jobs]
    ranked.sort(key=lambda job: job.status != RUNNING)
    whole = _matches(words, entry.key, entry.algorithm, entry.status, "tuning")
    shown = [job for job in ranked if whole or _matches(words, job.key, job.algorithm, job.status)]
    if not whole and not shown:
        return []
    best = entry.best
    value = (entry.objective.metric, best.objective) if best and best.objective is not None else None
    rows: list[dict[str, object]] = [{"entry": entry, "metric": value, "trials": len(entry.trials)}]
    rows += [{**_row(job), "within": entry} for job in shown[:_TRIALS]]
    if len(shown) > _TRIALS:
        rows.append({"more": len(shown) - _TRIALS, "entry": entry})
    return rows


def _row(job: Job) -> dict[str, object]:
    return {"entry": job, "metric": curves.objective(job)}


def _matches(words: list[str], *texts: str) -> bool:
    every = " ".join(texts).lower()
    return all(word in every for word in words)


def _outcome(trial: Trial, job: Job | None) -> str:
    told = OUTCOMES.get(trial.status, trial.status)
    # The tuning that would have told its end may have been killed.
    return job.status if told == RUNNING and job else told


def _body() -> tuple[bytes, str]:
    """What is to be sent: a file where there is one, else the text, whose line ends browsers change."""
    sent = request.files.get("file")
    if sent and sent.filename:
        return sent.read(), sent.filename
    return request.form.get("body", "").replace("\r\n", "\n").encode(), ""


def _part_asked() -> str:
    return "?part=1" if request.args.get("part") else ""


def _page(name: str, status: int = 200, **values: object) -> Answer:
    """A page, or where ``part`` is asked for what of it changes."""
    part = bool(request.args.get("part"))
    text = render_template(f"{'_' if part else ''}{name}.html", **values)
    return _fresh(make_response(_sent(text), status))


def _sent(text: str) -> bytes:
    """As UTF-8, in which half a letter of JSON's can't be written."""
    return text.encode(errors="replace")


def _fresh(response: Response) -> Answer:
    """With a tag by which a browser learns that nothing has changed."""
    if response.status_code == 200:
        response.add_etag()
        response.make_conditional(request)
    return response


def _trouble(status: int, sentence: str) -> Answer:
    if request.args.get("part"):
        return make_response(_failure(sentence), status)
    return make_response(render_template("trouble.html", sentence=sentence, status=status), status)


def _failure(sentence: str) -> Markup:
    return Markup(page.paragraph(sentence, "failure"))


def _soft(sentence: str) -> Markup:
    return Markup(page.paragraph(sentence, "soft"))


def _when(seconds: float | None) -> str:
    return "" if not seconds else time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
