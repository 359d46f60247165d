"""The page: what a visitor sees, and what each button does with their session."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from vdmfewshot.cli.app import MAX_FILE_SIZE, show
from vdmfewshot.cli.app.session import Session, Sessions
from vdmfewshot.cli.fragments import fragments
from vdmfewshot.data.pictures import SUFFIXES, read_picture
from vdmfewshot.defaults import TRAINER

CSS = """
.figures {display: flex; flex-wrap: wrap; gap: 12px}
.figures figure {margin: 0; text-align: center; font-size: 12px}
.figures img {display: inline-block; height: 128px; margin: 0 2px; image-rendering: pixelated}
#held figure {margin: 0}
#held img {width: 100%; image-rendering: pixelated}
#held .columns {display: grid; grid-template-columns: repeat(5, 1fr); gap: 1%; font-size: 13px}
.problem {color: #b00020; background: #fdecee; padding: 8px; border-radius: 6px}
progress {width: 100%; height: 16px; accent-color: #2563eb}
"""
#: of a place to drop files, in pixels
TALL = 140
#: seconds between two looks at an adaptation
LOOK = 0.4
COLUMNS = ("input", "what the model draws", "read as", "your target", "what is wrong")


def launch_options() -> dict[str, Any]:
    """Arguments of gradio's ``launch``: nothing is shared, fetched, or recorded."""
    theme = gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    return {
        "share": False,
        "quiet": True,
        "prevent_thread_lock": True,
        "ssr_mode": False,
        "footer_links": [],
        "max_file_size": MAX_FILE_SIZE,
        "theme": theme,
        "css": CSS,
    }


def make_page(sessions: Sessions) -> gr.Blocks:
    """The page.

    Args:
        sessions: of its visitors.
    """
    models = sorted(fragments(("model",)), key=lambda name: (name != "embedded", name))
    types = sorted(SUFFIXES)
    with gr.Blocks(title="vdmfewshot", analytics_enabled=False, delete_cache=(3600, 86400)) as page:
        gr.Markdown("# vdmfewshot\nTeach a video model a task with a few labelled pictures. All stays on this machine.")
        gr.Markdown("## 1. Pictures and what they should become")
        with gr.Row():
            pictures = gr.File(
                label="Pictures", file_count="multiple", file_types=types, elem_id="pictures", height=TALL
            )
            targets = gr.File(
                label="Targets: files of the same names (or paint below)",
                file_count="multiple", file_types=types, elem_id="targets", height=TALL,
            )  # fmt: skip
        wrong = gr.HTML(elem_id="wrong")
        have = gr.HTML(show.note("No pictures yet."), elem_id="have")
        with gr.Accordion("Paint a mask", open=False):
            choice = gr.Dropdown([], label="Picture", elem_id="choice")
            editor = gr.ImageEditor(
                label="Paint the object", sources=(), transforms=(), layers=False, type="numpy", elem_id="editor",
                brush=gr.Brush(default_size=24, colors=[show.PAINT], color_mode="fixed"), height=600, format="png",
                canvas_size=(show.CANVAS, show.CANVAS), interactive=True,
            )  # fmt: skip
            with gr.Row():
                keep = gr.Button("Keep this mask", variant="primary")
                remove = gr.Button("Remove this picture")
        gr.Markdown("## 2. Adapt")
        with gr.Row():
            kind = gr.Radio([("masks", "mask"), ("pictures", "image")], value="mask", label="The targets are")
            model = gr.Dropdown(models, value=models[0], label="Model", elem_id="model")
            steps = gr.Slider(1, 1000, TRAINER["max_steps"], step=1, label="Steps", elem_id="steps")
        held = gr.Checkbox(True, label="Leave one pair out of the training, to watch and to score")
        with gr.Row():
            start = gr.Button("Adapt", variant="primary", elem_id="adapt")
            stop = gr.Button("Cancel", variant="stop", elem_id="cancel")
        state = gr.HTML(elem_id="state")
        shown = gr.HTML(elem_id="held")
        gr.Markdown("## 3. Ask")
        queries = gr.File(label="New pictures", file_count="multiple", file_types=types, elem_id="queries", height=TALL)
        answers = gr.HTML(elem_id="answers")
        gr.Markdown("## 4. Take with you")
        with gr.Row():
            downloads = [
                gr.DownloadButton(f"{title} (zip)", elem_id=f"download-{what}", interactive=False)
                for what, title in (("answers", "Answers"), ("adapter", "Adapter"), ("pairs", "Pairs"))
            ]
        command = gr.Code(
            label="The command line that does the same, beside the unpacked pairs",
            language="shell", elem_id="command", lines=2, max_lines=4, wrap_lines=True,
        )  # fmt: skip
        overview = [have, choice, downloads[2]]

        def session(request: gr.Request) -> Session:
            return sessions.of(str(request.session_hash))

        def begin(request: gr.Request) -> tuple[Any, ...]:
            return overview_of(session(request))

        def add_pictures(files: list[str] | None, request: gr.Request) -> tuple[Any, ...]:
            mine = session(request)
            told = mine.add_pictures([Path(file) for file in files or ()])
            return None, show.problems(told), *overview_of(mine)

        def add_targets(files: list[str] | None, request: gr.Request) -> tuple[Any, ...]:
            mine = session(request)
            told = mine.add_targets([Path(file) for file in files or ()])
            return None, show.problems(told), *overview_of(mine)

        def open_canvas(name: str | None, request: gr.Request) -> Any:
            mine = session(request)
            if name not in mine.inputs:
                return None
            mask = mine.targets.get(name)
            drawn = None if mask is None else read_picture(mask)[..., 0]
            return show.canvas(read_picture(mine.inputs[name]), drawn)

        def keep_mask(name: str | None, value: Any, request: gr.Request) -> tuple[Any, ...]:
            mine = session(request)
            told = "choose a picture and paint the object in it first"
            if name in mine.inputs and value:
                mask = show.painted(value["layers"], read_picture(mine.inputs[name]))
                if mask.any():
                    mine.paint(name, mask)
                    told = ""
            return show.problems([told]), *overview_of(mine)

        def remove_picture(name: str | None, request: gr.Request) -> tuple[Any, ...]:
            mine = session(request)
            if name is not None:
                mine.remove(name)
            return None, *overview_of(mine)

        def adapt(kind: str, model: str, steps: float, held: bool, request: gr.Request) -> Iterator[tuple[Any, ...]]:
            mine = session(request)
            try:
                job = mine.adapt(kind, model, int(steps), held)
            except ValueError as error:
                yield show.problems([str(error)]), "", gr.skip(), gr.skip()
                return
            while job.is_alive():
                yield state_of(mine), held_of(mine), mine.command(), gr.DownloadButton(interactive=False)
                time.sleep(LOOK)
            adapter = gr.DownloadButton(interactive=False)
            if job.result is not None:
                adapter = gr.DownloadButton(value=str(mine.zipped("adapter")), interactive=True)
            yield state_of(mine), held_of(mine), mine.command(), adapter

        def cancel(request: gr.Request) -> None:
            session(request).cancel()

        def ask(files: list[str] | None, request: gr.Request) -> tuple[Any, ...]:
            mine = session(request)
            try:
                found = mine.answer(mine.take_queries(Path(file) for file in files or ()))
            except ValueError as error:
                return None, show.problems([str(error)]), gr.skip()
            items = [show.figure([answer.picture, answer.drawn], answer.name) for answer in found]
            packed = gr.DownloadButton(value=str(mine.zipped("answers")), interactive=True)
            return None, show.figures(items, ""), packed

        def leave(request: gr.Request) -> None:
            sessions.close(str(request.session_hash))

        private: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal"}
        pictures.upload(add_pictures, pictures, [pictures, wrong, *overview], **private)
        targets.upload(add_targets, targets, [targets, wrong, *overview], **private)
        choice.change(open_canvas, choice, editor, **private)
        keep.click(keep_mask, [choice, editor], [wrong, *overview], **private)
        remove.click(remove_picture, choice, [editor, *overview], **private)
        outputs = [state, shown, command, downloads[1]]
        start.click(adapt, [kind, model, steps, held], outputs, concurrency_limit=None, **private)
        stop.click(cancel, concurrency_limit=None, **private)
        queries.upload(ask, queries, [queries, answers, downloads[0]], concurrency_limit=None, **private)
        page.load(begin, None, overview, **private)
        page.unload(leave)
    return page


def overview_of(session: Session) -> tuple[Any, ...]:
    """Pictures with their targets, the choice of one to paint on, and the pairs to download."""
    items = []
    for name, file in sorted(session.inputs.items()):
        target = session.targets.get(name)
        pixels = [read_picture(file), *([] if target is None else [read_picture(target)])]
        items.append(show.figure(pixels, name if target else f"{name}: no target yet"))
    names = sorted(session.inputs)
    nextone = next((name for name in names if name not in session.targets), None)
    choice = gr.Dropdown(choices=names, value=nextone)
    pairs = gr.DownloadButton(interactive=False)
    if session.targets:
        pairs = gr.DownloadButton(value=str(session.zipped("pairs")), interactive=True)
    return show.figures(items, "No pictures yet."), choice, pairs


def state_of(session: Session) -> str:
    """How far the adaptation is, or how it ended."""
    job = session.job
    if job is None:
        return ""
    if job.failure == "cancelled":
        return show.note(f"Cancelled after {job.step} of {job.plan.steps} steps.")
    if job.failure:
        return show.problems([job.failure])
    return show.bar(job.step, job.plan.steps, "done" if job.result else job.phase) + show.note(score_of(job.scores))


def score_of(scores: Mapping[str, float]) -> str:
    """The main score on the held-out picture beside what costs nothing; "" if there is none."""
    if not scores:
        return ""
    name = next(iter(scores))
    free = {"copying the input": f"copy_input/{name}", "the mean of the targets": f"mean_target/{name}"}
    beside = [f"{what} gets {scores[key]:.3f}" for what, key in free.items() if key in scores]
    return f"{name} on the picture that was left out: {scores[name]:.3f} ({', '.join(beside)})"


def held_of(session: Session) -> str:
    """The latest prediction on the held-out picture."""
    job = session.job
    if job is None or job.picture is None:
        return ""
    strip = read_picture(job.picture)
    heads = "".join(f"<span>{head}</span>" for head in COLUMNS)
    caption = f"the picture that was left out, after {job.seen} steps"
    return f'<div class="columns">{heads}</div>' + show.figure([strip], caption, side=strip.shape[1])
