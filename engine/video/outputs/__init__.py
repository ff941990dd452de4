"""What is written for each flow of a sequence; one class per kind, each an `Output`."""

from engine.video.outputs.base import Output, Write
from engine.video.outputs.flow_files import FlowFiles
from engine.video.outputs.movie import MOVIE_SUFFIXES, Movie, check_movie_format
from engine.video.outputs.pictures import Pictures
from engine.video.outputs.stored_flows import StoredFlows

__all__ = [
    "MOVIE_SUFFIXES",
    "FlowFiles",
    "Movie",
    "Output",
    "Pictures",
    "StoredFlows",
    "Write",
    "check_movie_format",
]
