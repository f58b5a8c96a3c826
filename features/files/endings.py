"""What the names and first bytes of files say of them: images that are read, images that are not, and all else."""

from __future__ import annotations

import os

# Every way people spell the endings of the formats that the decoder reads.
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".mpo"),
    *(".png", ".apng", ".webp", ".bmp", ".dib", ".tif", ".tiff"),
)
# Pictures too, but in formats that no decoder here reads.
UNREAD = (
    *(".heic", ".heif", ".avif", ".gif", ".svg", ".ico", ".psd", ".xcf", ".eps", ".jp2", ".j2k", ".jpf", ".jxl"),
    *(".jxr", ".pcx", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".exr", ".hdr", ".emf", ".wmf"),
    *(".dcm", ".dicom", ".nii", ".svs", ".ndpi", ".mrxs"),
    *(".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw"),
)
_OF_IMAGES = {*SUFFIXES, *UNREAD}
# The first bytes of the formats that the decoder reads.
_SIGNS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*")
# Endings whose files are known to be no pictures, so that nobody looks into them.
_OTHER = {
    *(".csv", ".tsv", ".tab", ".txt", ".xlsx", ".xls", ".ods", ".gz", ".zip", ".tar", ".7z", ".rar", ".parquet"),
    *(".json", ".toml", ".yaml", ".yml", ".xml", ".md", ".rst", ".pdf", ".html", ".htm", ".log", ".ini", ".cfg"),
    *(".py", ".ipynb", ".sh", ".h5", ".hdf5", ".npy", ".npz", ".pkl", ".pt", ".pth", ".db", ".sqlite", ".license"),
    *(".mp4", ".mov", ".avi", ".doc", ".docx", ".ppt", ".pptx", ".part", ".tmp", ".crdownload", ".bak"),
}


def ending_of(name: str) -> str:
    """The ending of a file's name in lower case, with its dot; empty where there is none.

    Examples
    --------
    >>> ending_of("scans/ISIC_1.JPG"), ending_of("ISIC_1")
    ('.jpg', '')
    """
    return os.path.splitext(name)[1].lower()


def image_id(name: str) -> str:
    """An image's id from an id column's cell or a file name: without the ending of an image.

    Examples
    --------
    >>> image_id("p1/a.b.JPEG"), image_id("lesion.v2")
    ('p1/a.b', 'lesion.v2')
    """
    stem, suffix = os.path.splitext(name)
    return stem if suffix and suffix.lower() in _OF_IMAGES else name


def is_image_inside(path: str) -> bool:
    """Whether a file that is not named like an image begins like one."""
    if ending_of(path) in _OTHER or not os.path.isfile(path):  # opening a pipe would wait for its other end
        return False
    try:
        with open(path, "rb") as file:
            first = file.read(12)
    except OSError:
        return False
    return begins_like_image(first)


def begins_like_image(first: bytes) -> bool:
    """Whether the first bytes of a file, twelve at least, are those of a format that the decoder reads."""
    webp, bitmap = first[:4] == b"RIFF" and first[8:12] == b"WEBP", first[:2] == b"BM" and first[6:10] == bytes(4)
    return first.startswith(_SIGNS) or webp or bitmap
