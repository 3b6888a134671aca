"""What channels of images and objects hold: .rec files, image files with annotations, augmented manifests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

from common.channels import Channel, files
from common.failures import ClientError
from common.images import sources
from common.images.sources import FilePart, Item
from common.metrics import log
from containers.object_detection.annotations import Objects

RECORDIO = "application/x-recordio"


def items(channel: Channel, annotated: Channel | None, objects: Objects) -> list[Item]:
    """All images of a channel in File mode, with a `Label` each. Raises ClientError."""
    if channel.media_type.name == RECORDIO:
        found = sources.rec_items(channel)
        return [replace(item, label=objects.of_array(item.label, item.name)) for item in found]
    if annotated is None:
        raise ClientError(
            f"channel {channel.name}_annotation is missing; accepted with content type "
            f"{channel.media_type}: a channel with a JSON file for each image"
        )
    return _of_files(channel, annotated, objects)


def stream(channel: Channel, objects: Objects) -> Iterator[Item]:
    """The same of one epoch in Pipe mode: a .rec stream, or an augmented manifest's images and objects."""
    if channel.config.record_wrapper != "RecordIO":
        for item in sources.rec_stream(channel):
            yield replace(item, label=objects.of_array(item.label, item.name))
        return
    for item in sources.pairs(channel):
        label, _ = objects.of_json(item.label, item.name)
        yield replace(item, label=label)


def _of_files(channel: Channel, annotated: Channel, objects: Objects) -> list[Item]:
    annotated.check()
    images = {sources.relative(file.path, channel.folder): file for file in sources.images(channel)}
    stems = {os.path.splitext(path)[0]: path for path in images}
    found: dict[str, Item] = {}
    # Of images that are divided a host has some, but maybe all annotations.
    elsewhere = channel.config.distribution == "ShardedByS3Key"
    texts = [f for f in files.find(annotated.folder, annotated.name) if f.path.lower().endswith(".json")]
    for file in texts:
        label, value = objects.of_json(FilePart(file.path).read(), file.name)
        named = value.get("file")
        path = named if isinstance(named, str) and named in images else None
        if path is None:
            path = stems.get(os.path.splitext(sources.relative(file.path, annotated.folder))[0])
        if path is None and elsewhere:
            continue
        if path is None:
            raise ClientError(
                f"{file.name} belongs to no image in channel {channel.name}; accepted: the same name as an "
                "image's, or its path under file"
            )
        if path in found:
            raise ClientError(f"{file.name} is a second annotation of {path}; accepted: one for each image")
        found[path] = Item(FilePart(images[path].path), label, images[path].name)
    if not found:
        raise ClientError(f"channel {annotated.name} holds no .json file; accepted: one for each image")
    missing = len(images) - len(found)
    if missing:
        log.warning("channel %s: %d images have no annotation and are left out", channel.name, missing)
    return [found[path] for path in sorted(found)]
