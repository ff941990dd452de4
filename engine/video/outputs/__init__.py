"""What is written for each flow of a sequence; one class per kind, each an `Output`."""

from engine.video.outputs.base import Output, Write
from engine.video.outputs.flow_files import FlowFiles
from engine.video.outputs.movie import MOVIE_SUFFIXES, Movie, check_movie_format
from engine.video.outputs.pictures import Pictures

__all__ = [
    "MOVIE_SUFFIXES",
    "FlowFiles",
    "Movie",
    "Output",
    "Pictures",
    "Write",
    "check_movie_format",
]
