"""Where bytes come from: the channels of a job as iterators of batches, in File, FastFile and Pipe mode.

``open_channels(job, manifest)`` checks all that can be checked without reading data, at once, and gives a
``Channel`` for each; ``for batch in channel.epoch(size)`` is one pass over its data.
"""

from __future__ import annotations

from common.channels.channel import Channel
from common.failures import ClientError
from common.job import Job
from common.manifest import Manifest
from common.stopping import Stop

__all__ = ["Channel", "open_channels"]


def open_channels(job: Job, manifest: Manifest, stop: Stop | None = None) -> dict[str, Channel]:
    """The channels of a job by name.

    Raises ClientError when a channel is unknown or missing, has a content type or an input mode that the
    algorithm doesn't take, or isn't there in the mode that the job configures. No data are read and no FIFO
    is opened; a FIFO may still appear later.
    """
    specs = {name: manifest.channel(name) for name in job.channels}
    for spec in manifest.channels:
        if spec.required and spec.name not in specs:
            given = ", ".join(job.channels) or "none"
            required = ", ".join(s.name for s in manifest.channels if s.required)
            raise ClientError(
                f"channel {spec.name} is missing: {manifest.name} requires {required}; the job has {given}"
            )
    channels = {
        name: Channel(
            config,
            specs[name],
            job.data,
            rank=job.hosts.rank,
            hosts=len(job.hosts.names),
            stop=stop,
        )
        for name, config in job.channels.items()
    }
    for channel in channels.values():
        channel.check()
    return channels
