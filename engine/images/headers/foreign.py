"""Files that are no pictures, or of kinds that are not read: what they are, and what to do."""

import re

_CONVERT = "Convert it, e.g. to .png."
_VIDEO = "For the flow of a video use `flow video`."
_FLOW = "Give the two images that it is to be computed from."
_KINDS = (
    (rb"GIF8[79]a", "is a GIF animation", f"{_CONVERT} {_VIDEO}"),
    (rb".{4}ftyp(avif|avis|mif1|hei)", "is an AVIF or HEIF picture", _CONVERT),
    (rb".{4}(ftyp|moov|mdat|wide|free)", "is a video (MP4 or QuickTime)", _VIDEO),
    (rb"\x1a\x45\xdf\xa3", "is a video (Matroska or WebM)", _VIDEO),
    (rb"RIFF.{4}AVI ", "is a video (AVI)", _VIDEO),
    (rb"\0\0\x01[\xb0-\xbf]|\x47.{3}", "is a video (MPEG)", _VIDEO),
    (rb"FLV\x01|\x30\x26\xb2\x75|OggS", "is a video or a sound", _VIDEO),
    (rb"YUV4MPEG2", "is a video (YUV4MPEG2)", _VIDEO),
    (rb"PIEH|HEIP", "is a flow (.flo)", _FLOW),
    (rb"\x93NUMPY", "is an array of NumPy", "Read it by numpy.load, and pass arrays to infer."),
    (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf", "is a compressed archive", "Unpack it."),
    (rb"\x89HDF", "is an HDF5 file", _FLOW),
    (rb"#\?RADIANCE|#\?RGBE", "is a Radiance HDR picture", _CONVERT),
    (rb"\x76\x2f\x31\x01", "is an OpenEXR picture", _CONVERT),
    (rb"\x59\xa6\x6a\x95|P7\s|\xff\x0a|\0\0\0\x0cJXL ", "is a picture of a rare kind", _CONVERT),
    (rb"%PDF|\s*<(\?xml|svg|!DOCTYPE|html)", "is a document", _CONVERT),
)
_MATCHES = [
    (re.compile(start, re.DOTALL | re.IGNORECASE), found, advice) for start, found, advice in _KINDS
]


def describe(start: bytes | bytearray) -> tuple[str, str]:
    """Return what a file is by its first bytes, and what to do about it."""
    for pattern, found, advice in _MATCHES:
        if pattern.match(start):
            return found, advice
    return f"starts with {bytes(start[:8])!r}", "Check the name, or fetch it again."
